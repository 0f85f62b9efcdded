#include "model/weights.h"

namespace seamwright::model {

ConstView WeightLedger::claim(const std::string& name, const Shape& expected) {
  const auto found = source_.find_as(name, expected);
  if (!found) {
    fail(ErrorCode::kCorrupt, "{}: tensor '{}' of shape {} is missing", source_.description(), name,
         expected.to_string());
  }
  if (expected.rank() != 0 && found->shape != expected) {
    fail(ErrorCode::kCorrupt, "{}: tensor '{}' has shape {}, but this model needs {}",
         source_.description(), name, found->shape.to_string(), expected.to_string());
  }
  ensure(claimed_.insert(name).second, "tensor '{}' was claimed twice", name);
  claimed_bytes_ += found->bytes();
  return *found;
}

std::optional<ConstView> WeightLedger::claim_optional(const std::string& name) {
  if (!has(name)) return std::nullopt;
  return claim(name, {});
}

void WeightLedger::ignore(const std::string& name) {
  if (has(name)) claimed_.insert(name);
}

std::vector<std::string> WeightLedger::unclaimed() const {
  std::vector<std::string> left;
  for (auto& name : source_.names()) {
    if (!claimed_.contains(name)) left.push_back(name);
  }
  return left;
}

void WeightLedger::expect_all_claimed() const {
  const auto left = unclaimed();
  if (left.empty()) return;
  std::string list;
  for (std::size_t i = 0; i < left.size() && i < 20; ++i) list += "\n  " + left[i];
  if (left.size() > 20) list += fmt::format("\n  ... and {} more", left.size() - 20);
  fail(ErrorCode::kCorrupt,
       "{}: {} tensors have no place in this model (wrong config.json or another architecture?):{}",
       source_.description(), left.size(), list);
}

}  // namespace seamwright::model
