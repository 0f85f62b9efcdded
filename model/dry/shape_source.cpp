#include "model/dry/shape_source.h"

#include <algorithm>

namespace seamwright::model {

ShapeSource::ShapeSource(std::map<std::string, Shape, std::less<>> shapes, std::string description)
    : shapes_(std::move(shapes)), description_(std::move(description)) {
  std::int64_t largest = 1;
  for (const auto& [name, shape] : shapes_) largest = std::max(largest, shape.elements());
  // Zeroed pages come from the kernel on first touch, so nobody pays for what nobody reads.
  zeros_.reset(std::calloc(static_cast<std::size_t>(largest), byte_size(DType::kF32)));
  if (!zeros_) fail(ErrorCode::kResource, "out of memory: {} floats were asked for", largest);
}

std::optional<ConstView> ShapeSource::find(std::string_view name) const {
  const auto found = shapes_.find(name);
  if (found == shapes_.end()) return std::nullopt;
  return ConstView{zeros_.get(), DType::kF32, found->second};
}

std::vector<std::string> ShapeSource::names() const {
  std::vector<std::string> all;
  for (const auto& [name, shape] : shapes_) all.push_back(name);
  return all;
}

}  // namespace seamwright::model
