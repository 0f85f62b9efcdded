// Linear layers and GEGLU in fp32: blocks of rows against packed panels of weights. A chunk is a
// block of rows and a group of panels; which thread takes it changes no bit.
#include <algorithm>
#include <cstring>

#include "model/cpu/backend.h"
#include "model/cpu/panel_groups.h"
#include "model/cpu/parallel.h"

namespace seamwright::model::cpu {
namespace {

// Of a row that is multiplied at a time, and how much of a chunk's rows may be: they stay in the
// second-level cache.
constexpr std::int64_t kSuperDepth = 1280, kRowFloats = 160 << 10;
// Panels of a group whose sums wait for further runs of depth.
constexpr std::int64_t kWaitingPanels = 16;

// Rows of deep layers are copied side by side: at their own distance, a multiple of many lines,
// they would push each other and the weights out of the first-level cache.
constexpr std::int64_t kDeep = 1024, kGap = 16;

struct RowBlock {
  std::int64_t first = 0, count = 0;
};

// Floats for copies of up to `rows` rows.
std::int64_t copy_floats(std::int64_t depth, std::int64_t rows, std::int64_t tile) {
  if (depth < kDeep) return tile * depth;
  return ceil_div(rows, tile) * tile * (std::min(depth, kSuperDepth) + kGap);
}

// Rows of x against some panels.
struct RowProduct {
  const Kernels& kernels;
  const PanelWeights& weights;
  const float* x;  // the first row
  std::int64_t rows;
  float *sums, *copies;  // of every panel that waits; of rows

  struct Rows {
    const float* a = nullptr;
    std::int64_t stride = 0, whole = 0;  // rows in whole register tiles
    const float* rest = nullptr;         // a last tile, filled up with zeros; null: none
  };

  void copy(const float* from, std::int64_t count, std::int64_t width, float* to,
            std::int64_t stride) const {
    for (std::int64_t r = 0; r < count; ++r) {
      std::memcpy(to + r * stride, from + r * weights.depth,
                  static_cast<std::size_t>(width) * sizeof(float));
    }
  }

  // Elements [from, to) of all rows. What a register tile would read beyond the last row is zero.
  Rows rows_of(std::int64_t from, std::int64_t to) const {
    const std::int64_t depth = weights.depth, tile = kernels.register_rows;
    const std::int64_t whole = rows / tile * tile, rest = rows - whole, width = to - from;
    if (depth >= kDeep) {
      const std::int64_t stride = width + kGap, padded = ceil_div(rows, tile) * tile;
      copy(x + from, rows, width, copies, stride);
      std::fill(copies + rows * stride, copies + padded * stride, 0.0F);
      return {copies, stride, padded, nullptr};
    }
    if (rest > 0) {
      copy(x + whole * depth + from, rest, width, copies, depth);
      std::fill(copies + rest * depth, copies + tile * depth, 0.0F);
    }
    return {x + from, depth, whole, rest > 0 ? copies : nullptr};
  }

  // result(panel) gives where a panel's rows go; finish(panel, c) is called for each.
  template <class Result, class Finish>
  void run(std::int64_t begin, std::int64_t end, std::int64_t parts, const Result& result,
           const Finish& finish) const {
    const std::int64_t depth = weights.depth, panel = kernels.panel, tile = kernels.register_rows;
    const std::int64_t padded = ceil_div(rows, tile) * tile, waits = padded * panel;
    const auto* b = ConstView(weights.data).as<float>();
    for (std::int64_t part = 0; part < parts; ++part) {
      const std::int64_t from = depth * part / parts, to = depth * (part + 1) / parts;
      const Rows in = rows_of(from, to);
      for (std::int64_t p = begin; p < end; ++p) {
        PanelProduct product = part + 1 == parts ? result(p) : PanelProduct{};
        product.depth = to - from;
        product.columns = std::min(panel, weights.columns - p * panel);
        product.b = b + (p * depth + from) * panel;
        if (p + 1 < end) product.next_b = product.b + depth * panel;
        product.c = parts > 1 ? sums + (p - begin) * waits : sums;
        product.c_stride = panel;
        product.add = part > 0;
        float* const c = product.c;
        if (in.whole > 0) {
          product.a = in.a;
          product.a_stride = in.stride;
          product.rows = in.whole;
          kernels.multiply_panel(product);
        }
        if (in.rest != nullptr) {
          product.a = in.rest;
          product.a_stride = in.stride;
          product.rows = tile;
          product.c = c + in.whole * panel;
          product.y = product.residual = product.next_b = nullptr;
          kernels.multiply_panel(product);
        }
        if (part + 1 == parts) finish(p, c);
      }
    }
  }
};

// result(block, panel) and finish(block, panel, c) for all rows of x against all panels. `runs`
// equal runs of rows never share a chunk.
template <class Result, class Finish>
void multiply_rows(int threads, Workspace& workspace, const Kernels& kernels,
                   const PanelWeights& weights, const float* x, std::int64_t rows,
                   std::int64_t runs, const Result& result, const Finish& finish) {
  const std::int64_t depth = weights.depth, panel = kernels.panel, tile = kernels.register_rows;
  const std::int64_t run = rows / runs;
  const std::int64_t fitting = kRowFloats / std::min(depth, kSuperDepth) / tile * tile;
  const std::int64_t step = std::min(run, std::clamp(fitting, tile, kChunkRows / tile * tile));
  const std::int64_t per_run = ceil_div(run, step), parts = ceil_div(depth, kSuperDepth);
  const PanelGroups groups(ceil_div(weights.columns, panel), runs * per_run, threads,
                           parts > 1 ? kWaitingPanels : INT64_MAX);
  const std::int64_t sums =
      ceil_div(step, tile) * tile * panel * (parts > 1 ? groups.per_group : 1);
  const std::int64_t work = ceil_div(sums + copy_floats(depth, step, tile), 16) * 16;
  auto* space = reinterpret_cast<float*>(
      workspace.at_least(static_cast<std::size_t>(work * threads) * sizeof(float)));
  parallel_for(threads, runs * per_run * groups.count, [&](std::int64_t chunk, int worker) {
    float* const c = space + work * worker;
    const std::int64_t index = chunk / groups.count, group = chunk % groups.count;
    const std::int64_t first = index % per_run * step;
    const RowBlock block{index / per_run * run + first, std::min(step, run - first)};
    RowProduct{kernels, weights, x + block.first * depth, block.count, c, c + sums}.run(
        groups.begin(group), groups.end(group), parts,
        [&](std::int64_t p) { return result(block, p); },
        [&](std::int64_t p, const float* sum) { finish(block, p, sum); });
  });
}

}  // namespace

PanelWeights CpuBackend::pack_panels(const WeightSource& source) const {
  const std::int64_t panel = kernels_.panel;
  PanelWeights weights;
  weights.depth = source.channels;
  weights.columns = static_cast<std::int64_t>(source.order.size());
  const std::int64_t panels = ceil_div(weights.columns, panel);
  weights.data = Tensor(heap(), DType::kF32, {panels, weights.depth, panel});
  auto* data = weights.data.view().as<float>();
  parallel_for(threads_, panels, [&](std::int64_t p, int) {
    float* to = data + p * weights.depth * panel;
    for (std::int64_t c = 0; c < panel; ++c) {
      const std::int64_t column = p * panel + c;
      const std::int64_t stored =
          column < weights.columns ? source.order[static_cast<std::size_t>(column)] : -1;
      const float* from = source.data + stored * source.column_stride;
      for (std::int64_t d = 0; d < weights.depth; ++d) {
        to[d * panel + c] = stored < 0 ? 0.0F : from[d];
      }
    }
  });
  return weights;
}

void CpuBackend::panel_linear(const CpuLinear& linear,
                              const std::vector<std::vector<float>>& biases, ConstView x,
                              const Epilogue& epilogue, View y) {
  const std::int64_t rows = x.elements() / linear.in, panel = kernels_.panel;
  const auto runs = static_cast<std::int64_t>(biases.size());
  const auto* residual = epilogue.residual ? epilogue.residual.as<float>() : nullptr;
  const auto result_of = [&](const RowBlock& block, std::int64_t p) {
    const auto& bias = biases[static_cast<std::size_t>(block.first / (rows / runs))];
    const std::int64_t at = block.first * linear.out + p * panel;
    PanelResult<float> result;
    result.count = block.count;
    result.columns = std::min(panel, linear.out - p * panel);
    if (!bias.empty()) result.bias = bias.data() + p * panel;
    if (residual != nullptr) result.residual = residual + at;
    result.y = y.as<float>() + at;
    result.y_stride = linear.out;
    result.activation = epilogue.activation;
    result.last = epilogue.last;
    return result;
  };
  multiply_rows(
      threads_, workspace_, kernels_, linear.panels, x.as<float>(), rows, runs,
      [&](const RowBlock& block, std::int64_t p) {
        const auto result = result_of(block, p);
        PanelProduct product;
        if (result.columns == panel) product.y = result.y, product.residual = result.residual;
        product.y_stride = linear.out;
        return product;
      },
      [&](const RowBlock& block, std::int64_t p, const float* c) {
        auto result = result_of(block, p);
        result.c = c;
        kernels_.store_panel(result);
      });
}

void CpuBackend::panel_geglu(const CpuGeglu& geglu, ConstView x, View y) {
  const std::int64_t rows = x.elements() / geglu.in, panel = kernels_.panel, half = panel / 2;
  multiply_rows(
      threads_, workspace_, kernels_, geglu.panels, x.as<float>(), rows, 1,
      [](const RowBlock&, std::int64_t) { return PanelProduct{}; },
      [&](const RowBlock& block, std::int64_t p, const float* c) {
        PanelResult<float> result;
        result.c = c;
        result.count = block.count;
        result.columns = std::min(half, geglu.out - p * half);
        if (!geglu.gated_bias.empty()) result.bias = geglu.gated_bias.data() + p * panel;
        result.y = y.as<float>() + block.first * geglu.out + p * half;
        result.y_stride = geglu.out;
        kernels_.store_gated_panel(result);
      });
}

}  // namespace seamwright::model::cpu
