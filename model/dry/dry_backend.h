// A backend that computes nothing: it counts the work, traffic and memory of a network, for
// inspection, stage partition and planning. Its tensors have no memory behind them.
// Threads: as Backend.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/backend.h"

namespace seamwright::model {

// What one op call would cost.
struct OpRecord {
  std::string_view kind;  // "conv2d", "linear" ...
  std::string detail;     // shapes, e.g. "[16, 32, 32, 320] -> 640 k3"
  double flops = 0;       // two per multiply-add
  double bytes = 0;       // inputs, weights and output, each touched once
};

// Hands out addresses that must not be read, and counts what is in use.
class CountingAllocator final : public Allocator {
 public:
  void* allocate(std::size_t bytes) override;
  void release(void* data, std::size_t bytes) noexcept override;
  std::size_t in_use() const { return in_use_; }
  std::size_t peak() const { return peak_; }
  void reset_peak() { peak_ = in_use_; }

 private:
  std::uintptr_t next_ = 4096;
  std::size_t in_use_ = 0, peak_ = 0;
};

class DryBackend : public Backend {
 public:
  virtual CountingAllocator& counter() = 0;
  // The ops since the last call, in order.
  virtual std::vector<OpRecord> take_records() = 0;
};

// `activations`: what the counted backend computes in. Weights count in the same type, biases and
// norms in F32. `wide_residuals` (in F32) and `joined_projections` as Backend's.
std::unique_ptr<DryBackend> make_dry_backend(DType activations = DType::kF32,
                                             bool wide_residuals = false,
                                             bool joined_projections = false);
// Counts what `backend` would do.
std::unique_ptr<DryBackend> make_dry_backend(const Backend& backend);

}  // namespace seamwright::model
