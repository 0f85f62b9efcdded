// Named weights: where they come from, and the strict bookkeeping that every one is used once.
// Threads: one loader per thread; sources may be read from any thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "model/tensor.h"

namespace seamwright::model {

// A set of named tensors: safetensors files, or values made by formula in tests.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  // The tensor's stored form (any dtype, diffusers' layout), valid while the source lives.
  virtual std::optional<ConstView> find(std::string_view name) const = 0;
  // The same for a caller that knows the shape it needs; sources made by formula fill that shape.
  virtual std::optional<ConstView> find_as(std::string_view name, const Shape& expected) const {
    static_cast<void>(expected);
    return find(name);
  }
  virtual std::vector<std::string> names() const = 0;
  virtual std::string description() const = 0;  // for errors: "unet/diffusion_pytorch_model..."
};

// What the builders of one network have taken from a source. Shared by all scopes of a loader.
class WeightLedger {
 public:
  explicit WeightLedger(const WeightSource& source) : source_(source) {}
  // Claims a tensor; throws kCorrupt naming it when it is missing, has another shape, or was
  // claimed before. A shape of rank 0 accepts any shape.
  ConstView claim(const std::string& name, const Shape& expected);
  std::optional<ConstView> claim_optional(const std::string& name);
  bool has(const std::string& name) const { return source_.find(name).has_value(); }
  // Tensors known to carry no weights (position_ids ...): claimed silently when present.
  void ignore(const std::string& name);
  // Throws kCorrupt listing every tensor nobody claimed. With `only` = names of a stage, callers
  // skip this check, since other stages claim the rest.
  void expect_all_claimed() const;
  std::vector<std::string> unclaimed() const;
  std::size_t claimed_bytes() const { return claimed_bytes_; }
  const WeightSource& source() const { return source_; }

 private:
  const WeightSource& source_;
  std::set<std::string, std::less<>> claimed_;
  std::size_t claimed_bytes_ = 0;
};

}  // namespace seamwright::model
