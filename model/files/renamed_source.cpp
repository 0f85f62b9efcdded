#include "model/files/renamed_source.h"

#include <cstring>

#include "base/error.h"
#include "base/quoted.h"

namespace seamwright::model {
namespace {

bool same(const ConstView& a, const ConstView& b) {
  return a.dtype == b.dtype && a.shape == b.shape && std::memcmp(a.data, b.data, a.bytes()) == 0;
}

}  // namespace

RenamedSource::RenamedSource(std::shared_ptr<const WeightSource> base, std::string_view prefix,
                             const Rename& rename, const Ignore& ignore)
    : base_(std::move(base)) {
  for (const std::string& stored : base_->names()) {
    if (!stored.starts_with(prefix) || (ignore && ignore(stored))) continue;
    const auto short_name = std::string_view(stored).substr(prefix.size());
    const std::string name = rename(short_name).value_or(stored);
    const auto view = base_->find(stored);
    ensure(view.has_value(), "{} is listed but not found", stored);
    const auto [at, fresh] = tensors_.emplace(name, *view);
    if (!fresh && !same(at->second, *view)) {
      fail(ErrorCode::kCorrupt, "{}: tensor {} and another one are both {}, but differ",
           base_->description(), in_quotes(stored), in_quotes(name));
    }
  }
}

std::optional<ConstView> RenamedSource::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return std::nullopt;
  return found->second;
}

std::vector<std::string> RenamedSource::names() const {
  std::vector<std::string> out;
  for (const auto& [name, view] : tensors_) out.push_back(name);
  return out;
}

}  // namespace seamwright::model
