// Weights known by name and shape only: every tensor reads as zeros from one shared, never written
// block that costs no memory until touched.
// Threads: immutable after construction.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>

#include "model/weights.h"

namespace seamwright::model {

class ShapeSource final : public WeightSource {
 public:
  ShapeSource(std::map<std::string, Shape, std::less<>> shapes, std::string description);

  std::optional<ConstView> find(std::string_view name) const override;
  std::vector<std::string> names() const override;
  std::string description() const override { return description_; }

 private:
  struct Free {
    void operator()(void* data) const { std::free(data); }
  };
  std::map<std::string, Shape, std::less<>> shapes_;
  std::string description_;
  std::unique_ptr<void, Free> zeros_;
};

}  // namespace seamwright::model
