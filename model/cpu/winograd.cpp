// 3x3 convolutions in fp32 by Winograd's method: transform tiles of the input, multiply plane by
// plane, transform back. Super-blocks of tiles bound the workspace; inside one, work is cut into
// (tiles, columns) chunks by the shape alone.
#include <algorithm>

#include "model/cpu/backend.h"
#include "model/cpu/parallel.h"

namespace seamwright::model::cpu {
namespace {

constexpr std::int64_t kMostTiles = 64, kColumnsPerChunk = 128;
constexpr std::int64_t kInputFloats = std::int64_t{8} << 20;  // of one super-block, about 32 MiB
// From this many weights on (1280 x 1280) the 4x larger weights of the 4x4 form cost more to fetch
// than it saves in multiplications: U-Nets use them on their smallest images.
constexpr std::int64_t kLargeWeights = 1280 * 1280;
constexpr std::int64_t kLeastChannels = 32;

std::int64_t planes_of(int tile) { return static_cast<std::int64_t>(tile + 2) * (tile + 2); }

// The tiles of all images, numbered image by image and row by row.
struct TileGrid {
  std::int64_t tile, height, width, rows, columns;
  TileGrid(int out_tile, const Shape& y)
      : tile(out_tile),
        height(y[1]),
        width(y[2]),
        rows(ceil_div(height, tile)),
        columns(ceil_div(width, tile)) {}
  std::int64_t per_image() const { return rows * columns; }
  std::int64_t image_of(std::int64_t index) const { return index / per_image(); }
  template <class T>
  WinogradTile<T> at(std::int64_t index, const T* x, std::int64_t channels) const {
    const std::int64_t in_image = index % per_image();
    return {x + image_of(index) * height * width * channels,
            height,
            width,
            channels,
            in_image / columns * tile,
            in_image % columns * tile};
  }
};

}  // namespace

int CpuBackend::winograd_tile_for(const ConvSpec& s) const {
  const bool plain = s.kernel == 3 && s.stride == 1 && s.pad_top == 1 && s.pad_left == 1 &&
                     s.pad_bottom == 1 && s.pad_right == 1;
  if (compute_ != DType::kF32 || !plain || std::min(s.in, s.out) < kLeastChannels) return 0;
  return s.in * s.out >= kLargeWeights ? 2 : 4;
}

void CpuBackend::pack_winograd(const float* weight, CpuConv& conv) {
  const ConvSpec& s = conv.spec;
  const std::int64_t panel = kernels_.panel, panels = ceil_div(s.out, panel);
  const std::int64_t plane = panels * s.in * panel;
  conv.winograd = Tensor(heap(), DType::kF32, {planes_of(conv.winograd_tile), panels, s.in, panel});
  auto* u = conv.winograd.view().as<float>();
  parallel_for(threads_, panels, [&](std::int64_t p, int) {
    kernels_.winograd_weights(conv.winograd_tile, weight, s.in, s.out, p * panel,
                              u + p * s.in * panel, plane);
  });
}

void CpuBackend::winograd_conv(const CpuConv& conv, const std::vector<std::vector<float>>& biases,
                               ConstView x, const Epilogue& epilogue, View y) {
  const std::int64_t in = conv.spec.in, out = conv.spec.out, panel = kernels_.panel;
  const std::int64_t planes = planes_of(conv.winograd_tile), panels = ceil_div(out, panel);
  const TileGrid grid(conv.winograd_tile, y.shape);
  const std::int64_t tiles_per_chunk = kMostTiles / kernels_.register_rows * kernels_.register_rows;
  const std::int64_t tiles = y.shape[0] * grid.per_image();
  const std::int64_t images_per_bias = y.shape[0] / static_cast<std::int64_t>(biases.size());
  // Tiles of a super-block, of a chunk, and columns of a chunk.
  const std::int64_t block =
      std::clamp(kInputFloats / (planes * in) / tiles_per_chunk * tiles_per_chunk, tiles_per_chunk,
                 ceil_div(tiles, tiles_per_chunk) * tiles_per_chunk);
  const std::int64_t chunk_panels = std::max<std::int64_t>(kColumnsPerChunk / panel, 1);
  const std::int64_t wide = chunk_panels * panel, column_chunks = ceil_div(panels, chunk_panels);
  const std::int64_t v_plane = block * in, m_plane = tiles_per_chunk * wide;
  const std::int64_t m_floats = planes * m_plane;
  auto* v = reinterpret_cast<float*>(workspace_.at_least(
      static_cast<std::size_t>(planes * v_plane + m_floats * threads_) * sizeof(float)));
  float* products = v + planes * v_plane;
  const auto* u = conv.winograd.view().as<float>();

  with_type([&](auto tag) {
    using T = decltype(tag);
    const auto& kernels = kernels_.typed<T>();
    for (std::int64_t first = 0; first < tiles; first += block) {
      const std::int64_t count = std::min(block, tiles - first);
      const std::int64_t tile_chunks = ceil_div(count, tiles_per_chunk);
      parallel_runs(threads_, count, 8, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t t = begin; t < end; ++t) {
          kernels.winograd_input(conv.winograd_tile, grid.at(first + t, x.as<T>(), in), v + t * in,
                                 v_plane);
        }
      });
      parallel_for(threads_, tile_chunks * column_chunks, [&](std::int64_t chunk, int worker) {
        const std::int64_t t0 = chunk % tile_chunks * tiles_per_chunk;
        const std::int64_t p0 = chunk / tile_chunks * chunk_panels;
        const std::int64_t some = std::min(chunk_panels, panels - p0);
        const std::int64_t t1 = std::min(t0 + tiles_per_chunk, count);
        // Rows beyond the last tile hold what was there before; their products are not used.
        const std::int64_t rows =
            ceil_div(t1 - t0, kernels_.register_rows) * kernels_.register_rows;
        float* m = products + m_floats * worker;
        for (std::int64_t p = 0; p < planes; ++p) {
          PanelProduct product;
          product.a = v + p * v_plane + t0 * in;
          product.a_stride = product.depth = in;
          product.rows = rows;
          product.c_stride = wide;
          for (std::int64_t column = 0; column < some; ++column) {
            product.columns = std::min(panel, out - (p0 + column) * panel);
            product.b = u + (p * panels + p0 + column) * in * panel;
            product.c = m + p * m_plane + column * panel;
            kernels_.multiply_panel(product);
          }
        }
        for (std::int64_t t = t0; t < t1; ++t) {
          const std::int64_t image = grid.image_of(first + t), column = p0 * panel;
          const auto& bias = biases[static_cast<std::size_t>(image / images_per_bias)];
          const std::int64_t at = image * grid.height * grid.width * out + column;
          WinogradResult<T> result;
          result.y = y.as<T>() + at;
          if (epilogue.residual) result.residual = epilogue.residual.as<T>() + at;
          if (!bias.empty()) result.bias = bias.data() + column;
          result.channels = out;
          result.columns = std::min(some * panel, out - column);
          result.activation = epilogue.activation;
          result.last = epilogue.last;
          kernels.winograd_output(conv.winograd_tile, grid.at(first + t, x.as<T>(), in), result,
                                  m + (t - t0) * wide, m_plane);
        }
      });
    }
  });
}

}  // namespace seamwright::model::cpu
