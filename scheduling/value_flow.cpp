#include "scheduling/value_flow.h"

#include <algorithm>
#include <map>

namespace seamwright::scheduling {

bool Value::read_in(std::size_t first, std::size_t last) const {
  const auto found = std::lower_bound(readers.begin(), readers.end(), first);
  return found != readers.end() && *found < last;
}

ValueFlow::ValueFlow(const std::vector<PartitionBlock>& blocks) : seconds_(1, 0.0), weights_(1, 0) {
  std::map<std::string, std::size_t> current;
  for (std::size_t at = 0; at < blocks.size(); ++at) {
    for (const auto& name : blocks[at].reads) {
      const auto found = current.find(name);
      if (found != current.end()) values_[found->second].readers.push_back(at);
    }
    for (const auto& write : blocks[at].writes) {
      current[write.name] = values_.size();
      values_.push_back({write.name, write.bytes, at, {}});
    }
    seconds_.push_back(seconds_.back() + blocks[at].seconds);
    weights_.push_back(weights_.back() + blocks[at].weight_bytes);
  }
}

std::vector<const Value*> ValueFlow::across(std::size_t at) const { return into(at, blocks()); }

std::vector<const Value*> ValueFlow::into(std::size_t a, std::size_t b) const {
  std::vector<const Value*> found;
  for (const auto& value : values_) {
    if (value.writer < a && value.read_in(a, b)) found.push_back(&value);
  }
  return found;
}

std::vector<const Value*> ValueFlow::out_of(std::size_t a, std::size_t b) const {
  std::vector<const Value*> found;
  for (const auto& value : values_) {
    if (value.writer >= a && value.writer < b && value.read_in(b, blocks())) {
      found.push_back(&value);
    }
  }
  return found;
}

std::vector<const Value*> ValueFlow::kept(std::size_t a, std::size_t inner_a, std::size_t inner_b,
                                          std::size_t b) const {
  std::vector<const Value*> found;
  for (const auto& value : values_) {
    const bool came_by = value.writer < inner_a && value.read_in(inner_b, b);
    const bool passed_on_later =
        value.writer >= a && value.writer < inner_a && value.read_in(b, blocks());
    if (came_by || passed_on_later) found.push_back(&value);
  }
  return found;
}

std::int64_t ValueFlow::bytes(const std::vector<const Value*>& values) {
  std::int64_t sum = 0;
  for (const Value* value : values) sum += value->bytes;
  return sum;
}

}  // namespace seamwright::scheduling
