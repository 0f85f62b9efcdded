// The layers networks are made of. Constructing a layer loads it: it claims its tensors by name and
// lets the backend lay them out.
// Threads: construct on one thread; const and shareable afterwards.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "model/ops.h"
#include "model/weights.h"

namespace seamwright::model {

// What one network's builders share while it loads.
struct LoadContext {
  WeightLedger& ledger;
  Backend& backend;
  std::size_t resident_bytes = 0;  // of everything prepared so far
  std::int64_t parameters = 0;
};

// A place in the dotted names of a checkpoint: (Scope / "down_blocks.0") / "resnets.1".
struct Scope {
  LoadContext& load;
  std::string name;

  Scope operator/(std::string_view child) const;
  Scope operator/(std::size_t index) const { return *this / std::to_string(index); }
  bool has(std::string_view child) const { return load.ledger.has((*this / child).name); }
  ConstView claim(std::string_view child, const Shape& shape) const;
};

enum class Bias : std::uint8_t { kYes, kNo };

class Conv {
 public:
  Conv(const Scope& scope, const ConvSpec& spec, Bias bias = Bias::kYes);
  Tensor operator()(Exec& exec, ConstView x, const Epilogue& epilogue = {}) const;

 private:
  std::unique_ptr<PreparedConv> conv_;
};

// Also runs 1x1 convolutions, stored as [out, in, 1, 1]: channels last they are the same thing.
class Linear {
 public:
  Linear(const Scope& scope, std::int64_t in, std::int64_t out, Bias bias = Bias::kYes);
  Tensor operator()(Exec& exec, ConstView x, const Epilogue& epilogue = {},
                    ops::Result result = ops::Result::kNarrow) const;

 private:
  std::unique_ptr<PreparedLinear> linear_;
};

// The query, key and value projections of a self-attention, without biases: as one product, where
// the backend joins them.
class JoinedProjections {
 public:
  JoinedProjections(const Scope& scope, std::int64_t channels);
  Tensor operator()(Exec& exec, ConstView x) const;  // [..., C] to [..., 3C]

 private:
  std::unique_ptr<PreparedLinear> linear_;
};

// GEGLU's projection: value * gelu(gate) of the two halves.
class Geglu {
 public:
  Geglu(const Scope& scope, std::int64_t in, std::int64_t inner);
  Tensor operator()(Exec& exec, ConstView x) const;

 private:
  std::unique_ptr<PreparedLinear> linear_;
};

class GroupNorm {
 public:
  GroupNorm(const Scope& scope, std::int64_t channels, int groups, double eps,
            NormExtent extent = NormExtent::kPerFrame);
  Tensor operator()(Exec& exec, ConstView x, Activation activation = Activation::kNone) const;

 private:
  std::unique_ptr<PreparedNorm> norm_;
  int groups_;
  NormExtent extent_;
};

class LayerNorm {
 public:
  LayerNorm(const Scope& scope, std::int64_t channels, double eps = 1e-5);
  // `position` [outermost, C] is added to the normalised rows.
  Tensor operator()(Exec& exec, ConstView x, ConstView position = {}) const;

 private:
  std::unique_ptr<PreparedNorm> norm_;
};

// A stored floating-point tensor as an activation-typed tensor in the backend's memory.
Tensor load_table(const Scope& scope, std::string_view child, const Shape& shape);
// The same for values made on the host.
Tensor resident_copy(LoadContext& load, ConstView host);

}  // namespace seamwright::model
