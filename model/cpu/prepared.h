// Weights as the CPU backend keeps them: packed once at load, biases in fp32.
// Threads: constant after construction; shareable.
#pragma once

#include <vector>

#include "model/backend.h"
#include "model/cpu/onednn.h"
#include "model/cpu/tiles/tile_weights.h"

namespace seamwright::model::cpu {

// fp32 weights for our own products: panels of columns, the last one filled up with zeros.
struct PanelWeights {
  std::int64_t depth = 0, columns = 0;
  Tensor data;  // [panels][depth][panel]
  std::size_t bytes() const { return ConstView(data).bytes(); }
  explicit operator bool() const { return columns > 0; }
};

class CpuLinear final : public PreparedLinear {
 public:
  // One of these three.
  TileWeights tiles;
  PanelWeights panels;
  PackedWeights weights;
  std::vector<float> bias;  // empty: none
};

// GEGLU's projection in column blocks; block b holds `width` values, then their gates.
class CpuGeglu final : public PreparedLinear {
 public:
  struct Block {
    PackedWeights weights;
    std::vector<float> bias;
    std::int64_t begin = 0, width = 0;  // columns of the result
  };
  // One of these three.
  std::vector<Block> blocks;
  TileWeights tiles;
  PanelWeights panels;
  std::vector<float> gated_bias;  // of tiles or panels, in their order of columns; empty: none
};

class CpuConv final : public PreparedConv {
 public:
  PackedWeights weights;
  TileWeights tiles;      // instead where the tile unit is used
  int winograd_tile = 0;  // 2 or 4: `winograd` holds [(tile + 2)^2][panels][in][panel] instead
  Tensor winograd;
  std::vector<float> bias;            // empty: none
  std::unique_ptr<CpuLinear> linear;  // a 1x1 convolution is a linear layer, channels last
};

class CpuNorm final : public PreparedNorm {
 public:
  std::vector<float> scale, shift;
};

// A 3x3 convolution whose result is as large as its input.
inline bool keeps_size(const ConvSpec& s) {
  return s.kernel == 3 && s.stride == 1 && s.pad_top == 1 && s.pad_left == 1 && s.pad_bottom == 1 &&
         s.pad_right == 1;
}

template <class Concrete, class Base>
const Concrete& as(const Base& prepared) {
  const auto* concrete = dynamic_cast<const Concrete*>(&prepared);
  ensure(concrete != nullptr, "these weights were prepared by another backend or for another op");
  return *concrete;
}

}  // namespace seamwright::model::cpu
