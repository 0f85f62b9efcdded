// Linear layers, GEGLU and 3x3 convolutions on the tile unit. A chunk is a block of rows and a
// group of columns; which thread takes it changes no bit.
#include <algorithm>
#include <cstring>
#include <vector>

#include "model/cpu/backend.h"
#include "model/cpu/parallel.h"
#include "model/cpu/tiles/panel_product.h"

namespace seamwright::model::cpu {
namespace {

constexpr std::int64_t kAlign = 64;
// Panels of a convolution that wait for a second super-block: their sums are 320 KiB.
constexpr std::int64_t kPanelsOfSupers = 10;

std::size_t aligned(std::int64_t bytes) {
  return static_cast<std::size_t>(ceil_div(bytes, kAlign) * kAlign);
}

// Rows of a linear layer's input. The last ones are copied where reading whole tiles would leave
// the tensor.
struct RowChunk {
  std::int64_t first = 0, count = 0;
  bool leaves(std::int64_t all) const {
    return first + ceil_div(count, kTileRows) * kTileRows > all;
  }
};

const Bf16* whole_tiles(const Bf16* x, const RowChunk& chunk, std::int64_t all, std::int64_t width,
                        Bf16* copy) {
  const Bf16* from = x + chunk.first * width;
  if (!chunk.leaves(all)) return from;
  std::memcpy(copy, from, static_cast<std::size_t>(chunk.count * width) * sizeof(Bf16));
  const std::int64_t rest = ceil_div(chunk.count, kTileRows) * kTileRows - chunk.count;
  std::memset(copy + chunk.count * width, 0, static_cast<std::size_t>(rest * width) * sizeof(Bf16));
  return copy;
}

// result(first, panel) says where sums of 32 rows from `first` on go, for all rows of x against all
// panels. `runs` equal runs of rows never share a chunk.
template <class Result>
void multiply_rows(int threads, Workspace& workspace, const TileWeights& weights, const Bf16* x,
                   std::int64_t rows, std::int64_t runs, const Result& result) {
  const std::int64_t width = weights.plan.channels, run = rows / runs;
  const std::int64_t step = std::min(kChunkRows, run), per_run = ceil_div(run, step);
  const PanelGroups groups(weights.panels(), runs * per_run);
  const std::int64_t most_blocks = ceil_div(step, kBlockRows);
  const std::size_t copy_bytes = aligned((step + kTileRows) * width * 2);
  const std::size_t work =
      copy_bytes + aligned(group_sums(weights, most_blocks, groups.per_group) * 4);
  std::byte* space = workspace.at_least(work * static_cast<std::size_t>(threads));
  parallel_for(threads, runs * per_run * groups.count, [&](std::int64_t chunk, int worker) {
    std::byte* mine = space + work * static_cast<std::size_t>(worker);
    const std::int64_t row_chunk = chunk / groups.count, begin = row_chunk % per_run * step;
    const RowChunk taken{row_chunk / per_run * run + begin, std::min(step, run - begin)};
    PanelInput input;
    input.data = whole_tiles(x, taken, rows, width, reinterpret_cast<Bf16*>(mine));
    input.stride = width;
    std::vector<RowBlock> blocks;
    for (std::int64_t r = 0; r < taken.count; r += kBlockRows) {
      blocks.push_back({r * width, std::min(kBlockRows, taken.count - r)});
    }
    const TileSession session;
    multiply_group(
        weights, groups, chunk % groups.count, blocks, true,
        reinterpret_cast<float*>(mine + copy_bytes),
        [&](std::size_t super) -> const PanelInput& {
          const auto& parts = weights.plan.supers[super];
          const auto end = parts.back().channel + parts.back().depth;
          input.runs = {{parts.front().channel, (end - parts.front().channel) / 32}};
          return input;
        },
        [&](std::int64_t block, std::int64_t panel) {
          TileResult to = result(taken.first + block * kBlockRows, panel);
          to.count = blocks[static_cast<std::size_t>(block)].rows;
          return to;
        });
  });
}

// A convolution's rows are pixels of padded lines, so a tap is a constant distance. Images that are
// narrow go in groups with pixels of the same place side by side: a line of them fills whole
// blocks. Wide images are cut into strips.
struct Lines {
  static constexpr std::int64_t kStrip = 64;
  std::int64_t images, height, width;  // of input and output
  std::int64_t group;                  // images side by side

  // At most `most` images go together.
  Lines(std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t most)
      : images(n), height(h), width(w), group(1) {
    most = std::min(most, n);
    while (group < most && (width * group) % kBlockRows != 0 && width * group < 2 * kBlockRows) {
      ++group;
    }
    while (2 * group <= most && height * width * group * 2 <= kChunkRows) group *= 2;
  }
  std::int64_t strip_count() const { return ceil_div(width, kStrip); }
  std::int64_t strip() const { return std::min(width, kStrip); }
  std::int64_t pitch() const { return (strip() + 2) * group; }  // rows from line to line
  std::int64_t group_count() const { return ceil_div(images, group); }
  std::int64_t lines_per_chunk() const {
    return std::clamp<std::int64_t>(kChunkRows / (strip() * group), 1, height);
  }
  std::int64_t chunks_of_strip() const { return ceil_div(height, lines_per_chunk()); }
  std::int64_t chunks() const { return group_count() * strip_count() * chunks_of_strip(); }
  // Rows of the copy of a chunk, with what whole tiles read beyond.
  std::int64_t copied_rows() const { return (lines_per_chunk() + 2) * pitch() + kBlockRows; }
  std::int64_t most_blocks() const {
    return lines_per_chunk() * ceil_div(strip() * group, kBlockRows);
  }
};

// Lines [line, line + count) of a strip of a group of images.
struct LineChunk {
  const Lines& lines;
  std::int64_t image = 0, together = 0, column = 0, columns = 0, line = 0, count = 0;

  LineChunk(const Lines& all, std::int64_t chunk) : lines(all) {
    const std::int64_t strip = chunk / all.chunks_of_strip();
    image = strip / all.strip_count() * all.group;
    together = std::min(all.group, all.images - image);
    column = strip % all.strip_count() * Lines::kStrip;
    columns = std::min(Lines::kStrip, all.width - column);
    line = chunk % all.chunks_of_strip() * all.lines_per_chunk();
    count = std::min(all.lines_per_chunk(), all.height - line);
  }
  std::int64_t pitch() const { return (columns + 2) * together; }
  std::int64_t row_length() const { return columns * together; }

  std::vector<RowBlock> blocks(std::int64_t channels) const {
    std::vector<RowBlock> all;
    for (std::int64_t l = 0; l < count; ++l) {
      for (std::int64_t r = 0; r < row_length(); r += kBlockRows) {
        all.push_back({(l * pitch() + r) * channels, std::min(kBlockRows, row_length() - r)});
      }
    }
    return all;
  }

  // Channels [begin, begin + width) of all pixels, with a pixel around that is zero outside images.
  void fill(const Bf16* x, std::int64_t channels, std::int64_t begin, std::int64_t width,
            Bf16* to) const {
    const auto bytes = static_cast<std::size_t>(width) * sizeof(Bf16);
    const auto clear = [&](Bf16* at, std::int64_t pixels) {
      std::memset(at, 0, static_cast<std::size_t>(pixels) * bytes);
    };
    const std::int64_t left = column > 0 ? 1 : 0;
    const std::int64_t right = column + columns < lines.width ? 1 : 0;
    for (std::int64_t l = -1; l <= count; ++l, to += pitch() * width) {
      if (line + l < 0 || line + l >= lines.height) {
        clear(to, pitch());
        continue;
      }
      if (left == 0) clear(to, together);
      if (right == 0) clear(to + (columns + 1) * together * width, together);
      for (std::int64_t n = 0; n < together; ++n) {
        const Bf16* from =
            x + (((image + n) * lines.height + line + l) * lines.width + column - left) * channels +
            begin;
        Bf16* at = to + ((1 - left) * together + n) * width;
        for (std::int64_t pixel = 0; pixel < left + columns + right; ++pixel) {
          std::memcpy(at + pixel * together * width, from + pixel * channels, bytes);
        }
      }
    }
  }

  // Where sums of a block go: of results [.., out] at element `at` of each pixel.
  TileResult place(TileResult result, std::int64_t block, std::int64_t out, std::int64_t at, View y,
                   ConstView residual) const {
    const std::int64_t per_line = ceil_div(row_length(), kBlockRows);
    const std::int64_t l = block / per_line, r = block % per_line * kBlockRows;
    const std::int64_t image_size = lines.height * lines.width * out;
    const std::int64_t pixel = (line + l) * lines.width + column + r / together;
    const std::int64_t offset = (image + r % together) * image_size + pixel * out + at;
    result.count = std::min(kBlockRows, row_length() - r);
    result.place(y.data, residual.data, offset);
    result.y_stride = image_size;
    result.run = together;
    result.in_run = r % together;
    result.jump = out - together * image_size;
    return result;
  }
};

const float* at_panel(const std::vector<float>& bias, std::int64_t panel) {
  return bias.empty() ? nullptr : bias.data() + panel * kPanelColumns;
}

TileResult result_of(const TileWeights& weights, const Epilogue& epilogue, std::int64_t panel,
                     DType type) {
  TileResult result;
  result.wide = type == DType::kF32;
  result.columns = std::min(kPanelColumns, weights.columns - panel * kPanelColumns);
  result.activation = epilogue.activation;
  result.last = epilogue.last;
  return result;
}

}  // namespace

bool CpuBackend::on_tiles(std::int64_t in, std::int64_t out) const {
  return isa_ == Isa::kAmx && compute_ == DType::kBF16 && in > 0 && in % 32 == 0 && out >= 16;
}

void CpuBackend::tiled_linear(const CpuLinear& linear,
                              const std::vector<std::vector<float>>& biases, ConstView x,
                              const Epilogue& epilogue, View y) {
  const std::int64_t rows = x.elements() / linear.in;
  const auto runs = static_cast<std::int64_t>(biases.size());
  multiply_rows(threads_, workspace_, linear.tiles, x.as<Bf16>(), rows, runs,
                [&](std::int64_t first, std::int64_t panel) {
                  const auto run = static_cast<std::size_t>(first / (rows / runs));
                  const std::int64_t at = first * linear.out + panel * kPanelColumns;
                  TileResult result = result_of(linear.tiles, epilogue, panel, y.dtype);
                  result.bias = at_panel(biases[run], panel);
                  result.place(y.data, epilogue.residual.data, at);
                  result.y_stride = linear.out;
                  return result;
                });
}

void CpuBackend::tiled_geglu(const CpuGeglu& geglu, ConstView x, View y) {
  const std::int64_t rows = x.elements() / geglu.in, each = kPanelColumns / 2;
  multiply_rows(threads_, workspace_, geglu.tiles, x.as<Bf16>(), rows, 1,
                [&](std::int64_t first, std::int64_t panel) {
                  TileResult result;
                  result.gated = true;
                  result.columns = std::min(each, geglu.out - panel * each);
                  result.bias = at_panel(geglu.gated_bias, panel);
                  result.place(y.data, nullptr, first * geglu.out + panel * each);
                  result.y_stride = geglu.out;
                  return result;
                });
}

void CpuBackend::tiled_conv(const CpuConv& conv, const std::vector<std::vector<float>>& biases,
                            ConstView x, const Epilogue& epilogue, View y) {
  const TileWeights& weights = conv.tiles;
  const auto supers = static_cast<std::int64_t>(weights.plan.supers.size());
  // Images of different biases stay apart.
  const Lines lines(x.shape[0], x.shape[1], x.shape[2], biases.size() > 1 ? 1 : x.shape[0]);
  const PanelGroups groups(weights.panels(), 2 * lines.chunks(),
                           supers > 1 ? kPanelsOfSupers : INT64_MAX);
  const std::int64_t channels = conv.spec.in;
  const std::int64_t widest = std::min(channels, ceil_div(channels, supers) + 32);
  const std::size_t copy_bytes = aligned(lines.copied_rows() * widest * 2);
  const std::size_t work =
      copy_bytes + aligned(group_sums(weights, lines.most_blocks(), groups.per_group) * 4);
  std::byte* space = workspace_.at_least(work * static_cast<std::size_t>(threads_));
  const std::int64_t images_per_bias = lines.images / static_cast<std::int64_t>(biases.size());
  parallel_for(threads_, lines.chunks() * groups.count, [&](std::int64_t index, int worker) {
    std::byte* mine = space + work * static_cast<std::size_t>(worker);
    auto* copy = reinterpret_cast<Bf16*>(mine);
    const LineChunk chunk(lines, index / groups.count);
    const auto& bias = biases[static_cast<std::size_t>(chunk.image / images_per_bias)];
    std::vector<RowBlock> blocks = chunk.blocks(1);
    PanelInput input;
    const auto rows_of = [&](std::size_t super) -> const PanelInput& {
      const auto& parts = weights.plan.supers[super];
      const std::int64_t first = parts.front().channel;
      const std::int64_t width = parts.back().channel + parts.back().depth - first;
      chunk.fill(x.as<Bf16>(), channels, first, width, copy);
      input.data = copy;
      input.stride = width;
      input.runs.clear();
      for (const DepthBlock& part : parts) {  // taps in order of the stored kernel: rows first
        const std::int64_t pixels = part.tap / 3 * chunk.pitch() + part.tap % 3 * chunk.together;
        input.runs.push_back({pixels * width + part.channel - first, part.depth / 32});
      }
      blocks = chunk.blocks(width);
      return input;
    };
    const TileSession session;
    multiply_group(weights, groups, index % groups.count, blocks, false,
                   reinterpret_cast<float*>(mine + copy_bytes), rows_of,
                   [&](std::int64_t block, std::int64_t panel) {
                     TileResult result = result_of(weights, epilogue, panel, y.dtype);
                     result.bias = at_panel(bias, panel);
                     return chunk.place(result, block, conv.spec.out, panel * kPanelColumns, y,
                                        epilogue.residual);
                   });
  });
}

}  // namespace seamwright::model::cpu
