// Linear layers, GEGLU and 3x3 convolutions on the tile unit. A chunk is a block of rows and a group
// of columns; which thread takes it changes no bit.
#include <algorithm>
#include <cstring>

#include "model/cpu/backend.h"
#include "model/cpu/parallel.h"
#include "model/cpu/tiles/panel_product.h"

namespace seamwright::model::cpu {
namespace {

constexpr std::int64_t kAlign = 64;
// Weights up to this size stay in the second-level cache: a chunk passes over them once for every
// few rows, and the next rows are fetched meanwhile.
constexpr std::int64_t kSmallWeights = 512 << 10, kFewRows = 128;

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
  std::memset(copy + chunk.count * width, 0,
              static_cast<std::size_t>(rest * width) * sizeof(Bf16));
  return copy;
}

// target(chunk, panel) and finish(chunk, panel, c) for all rows of x against all panels. `runs` equal
// runs of rows never share a chunk.
template <class Target, class Finish>
void multiply_rows(int threads, Workspace& workspace, const TileWeights& weights, const Bf16* x,
                   std::int64_t rows, std::int64_t runs, const Target& target,
                   const Finish& finish) {
  const std::int64_t width = weights.plan.channels, run = rows / runs;
  const std::int64_t step = std::min(kChunkRows, run), per_run = ceil_div(run, step);
  const PanelGroups groups(weights.panels(), runs * per_run);
  const bool small = static_cast<std::int64_t>(weights.bytes()) <= kSmallWeights;
  const std::int64_t few = small ? std::min(kFewRows, step) : step;
  const std::size_t copy_bytes = aligned((few + kTileRows) * width * 2);
  const std::size_t work = copy_bytes + aligned(group_sums(weights, few, groups.per_group) * 4);
  std::byte* space = workspace.at_least(work * static_cast<std::size_t>(threads));
  parallel_for(threads, runs * per_run * groups.count, [&](std::int64_t chunk, int worker) {
    std::byte* mine = space + work * static_cast<std::size_t>(worker);
    const std::int64_t block = chunk / groups.count, begin = block % per_run * step;
    const std::int64_t end = std::min(begin + step, run);
    const TileSession session;
    for (std::int64_t first = begin; first < end; first += few) {
      const RowChunk taken{block / per_run * run + first, std::min(few, end - first)};
      PanelInput input;
      input.data = whole_tiles(x, taken, rows, width, reinterpret_cast<Bf16*>(mine));
      input.stride = width;
      input.rows = taken.count;
      if (first + 2 * few <= end) {
        input.next = x + (taken.first + few) * width;
        input.next_lines = ceil_div(few * width / 32, weights.panels());
      }
      multiply_group(
          weights, groups, chunk % groups.count, reinterpret_cast<float*>(mine + copy_bytes),
          [&](std::size_t) -> const PanelInput& { return input; },
          [&](std::int64_t panel) { return target(taken, panel); },
          [&](std::int64_t panel, const float* c) { finish(taken, panel, c); });
    }
  });
}

// A convolution's rows are positions of padded lines laid one after another: a tap is then a
// constant distance. Narrow images share lines of zeros; wide ones are cut into strips.
struct Lines {
  static constexpr std::int64_t kStrip = 64;
  std::int64_t images, height, width;  // of input and output
  bool strips() const { return width > kStrip; }
  std::int64_t strip_count() const { return strips() ? ceil_div(width, kStrip) : 1; }
  // Pixels from line to line; strips carry both neighbours of theirs.
  std::int64_t pitch() const { return strips() ? kStrip + 2 : width + 1; }
  // Lines in one sequence: of all images, each with a line of zeros after it, or of one image.
  std::int64_t sequence() const { return strips() ? height : images * (height + 1); }
  std::int64_t sequences() const { return strips() ? images * strip_count() : 1; }
  std::int64_t per_chunk() const {
    return std::max<std::int64_t>(1, (kChunkRows + pitch() - 1) / pitch());
  }
  std::int64_t chunks() const { return sequences() * ceil_div(sequence(), per_chunk()); }
};

struct LineChunk {
  const Lines& lines;
  std::int64_t image = 0, column = 0;  // of a strip
  std::int64_t first = 0, count = 0;   // lines of the sequence

  LineChunk(const Lines& all, std::int64_t chunk) : lines(all) {
    const std::int64_t per_sequence = ceil_div(all.sequence(), all.per_chunk());
    const std::int64_t sequence = chunk / per_sequence;
    image = sequence / all.strip_count();
    column = sequence % all.strip_count() * Lines::kStrip;
    first = chunk % per_sequence * all.per_chunk();
    count = std::min(all.per_chunk(), all.sequence() - first);
  }
  // Pixels of results in a line.
  std::int64_t columns() const {
    return lines.strips() ? std::min(Lines::kStrip, lines.width - column) : lines.width;
  }
  // The image row behind a line of the sequence; -1: zeros.
  std::int64_t image_row(std::int64_t line) const {
    if (lines.strips()) {
      return line < 0 || line >= lines.height ? -1 : image * lines.height + line;
    }
    if (line < 0 || line >= lines.sequence() || line % (lines.height + 1) == lines.height) return -1;
    return line / (lines.height + 1) * lines.height + line % (lines.height + 1);
  }
  std::int64_t rows() const { return (count - 1) * lines.pitch() + columns(); }
  // Lines before and after, a pixel at either end, and what whole tiles read beyond.
  std::int64_t pixels() const { return (count + 2) * lines.pitch() + 2 + kTileRows; }

  // Channels [begin, begin + width) of all pixels.
  void fill(const Bf16* x, std::int64_t channels, std::int64_t begin, std::int64_t width,
            Bf16* to) const {
    std::memset(to, 0, static_cast<std::size_t>(pixels() * width) * sizeof(Bf16));
    const std::int64_t left = column > 0 ? 1 : 0;
    const std::int64_t right = column + columns() < lines.width ? 1 : 0;
    for (std::int64_t line = -1; line <= count; ++line) {
      const std::int64_t row = image_row(first + line);
      if (row < 0) continue;
      const Bf16* from = x + (row * lines.width + column - left) * channels + begin;
      Bf16* at = to + ((line + 1) * lines.pitch() + 1 - left) * width;
      const std::int64_t copied = columns() + left + right;
      if (width == channels) {
        std::memcpy(at, from, static_cast<std::size_t>(copied * width) * sizeof(Bf16));
        continue;
      }
      for (std::int64_t pixel = 0; pixel < copied; ++pixel) {
        std::memcpy(at + pixel * width, from + pixel * channels,
                    static_cast<std::size_t>(width) * sizeof(Bf16));
      }
    }
  }
};

const float* at_panel(const std::vector<float>& bias, std::int64_t panel) {
  return bias.empty() ? nullptr : bias.data() + panel * kPanelColumns;
}

TileResult result_of(const TileWeights& weights, const Epilogue& epilogue, std::int64_t panel) {
  TileResult result;
  result.columns = std::min(kPanelColumns, weights.columns - panel * kPanelColumns);
  result.y_stride = weights.columns;
  result.activation = epilogue.activation;
  result.last = epilogue.last;
  return result;
}

void store_at(TileResult result, const Epilogue& epilogue, std::int64_t offset, View y) {
  result.y = y.as<Bf16>() + offset;
  if (epilogue.residual) result.residual = epilogue.residual.as<Bf16>() + offset;
  store_tiles(result);
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
  const auto target = [&](const RowChunk& chunk, std::int64_t panel) {
    const std::int64_t at = chunk.first * linear.out + panel * kPanelColumns;
    return PanelTarget{y.as<Bf16>() + at,
                       epilogue.residual ? epilogue.residual.as<Bf16>() + at : nullptr, linear.out};
  };
  multiply_rows(threads_, workspace_, linear.tiles, x.as<Bf16>(), rows, runs, target,
                [&](const RowChunk& chunk, std::int64_t panel, const float* c) {
                  const auto run = static_cast<std::size_t>(chunk.first / (rows / runs));
                  TileResult result = result_of(linear.tiles, epilogue, panel);
                  result.c = c;
                  result.count = chunk.count;
                  result.bias = at_panel(biases[run], panel);
                  store_at(result, epilogue, chunk.first * linear.out + panel * kPanelColumns, y);
                });
}

void CpuBackend::tiled_geglu(const CpuGeglu& geglu, ConstView x, View y) {
  const std::int64_t rows = x.elements() / geglu.in, each = kPanelColumns / 2;
  const auto target = [&](const RowChunk& chunk, std::int64_t panel) {
    return PanelTarget{y.as<Bf16>() + chunk.first * geglu.out + panel * each, nullptr, geglu.out};
  };
  multiply_rows(threads_, workspace_, geglu.tiles, x.as<Bf16>(), rows, 1, target,
                [&](const RowChunk& chunk, std::int64_t panel, const float* c) {
                  TileResult result;
                  result.c = c;
                  result.count = chunk.count;
                  result.columns = std::min(each, geglu.out - panel * each);
                  result.bias = at_panel(geglu.gated_bias, panel);
                  result.y = y.as<Bf16>() + chunk.first * geglu.out + panel * each;
                  result.y_stride = geglu.out;
                  store_gated_tiles(result);
                });
}

void CpuBackend::tiled_conv(const CpuConv& conv, const std::vector<std::vector<float>>& biases,
                            ConstView x, const Epilogue& epilogue, View y) {
  const TileWeights& weights = conv.tiles;
  const Lines lines{x.shape[0], x.shape[1], x.shape[2]};
  const PanelGroups groups(weights.panels(), lines.chunks());
  const std::int64_t channels = conv.spec.in;
  const std::int64_t widest = ceil_div(channels, static_cast<std::int64_t>(
                                                     weights.plan.supers.size())) + 32;
  const LineChunk longest(lines, 0);
  const std::size_t copy_bytes = aligned(longest.pixels() * std::min(widest, channels) * 2);
  const std::size_t work =
      copy_bytes + aligned(group_sums(weights, longest.rows(), groups.per_group) * 4);
  std::byte* space = workspace_.at_least(work * static_cast<std::size_t>(threads_));
  const std::int64_t images_per_bias =
      lines.images / static_cast<std::int64_t>(biases.size()) * lines.height;
  parallel_for(threads_, lines.chunks() * groups.count, [&](std::int64_t index, int worker) {
    std::byte* mine = space + work * static_cast<std::size_t>(worker);
    auto* copy = reinterpret_cast<Bf16*>(mine);
    const LineChunk chunk(lines, index / groups.count);
    PanelInput input;
    const auto rows_of = [&](std::size_t super) -> const PanelInput& {
      const auto& blocks = weights.plan.supers[super];
      input.first_channel = blocks.front().channel;
      input.stride = blocks.back().channel + blocks.back().depth - input.first_channel;
      chunk.fill(x.as<Bf16>(), channels, input.first_channel, input.stride, copy);
      input.data = copy;
      input.rows = chunk.rows();
      input.tap_offsets.clear();
      for (std::int64_t tap = 0; tap < 9; ++tap) {  // in order of the stored kernel: rows first
        input.tap_offsets.push_back((tap / 3 * lines.pitch() + tap % 3) * input.stride);
      }
      return input;
    };
    const auto finish = [&](std::int64_t panel, const float* c) {
      TileResult result = result_of(weights, epilogue, panel);
      result.count = chunk.columns();
      for (std::int64_t line = 0; line < chunk.count; ++line) {
        const std::int64_t row = chunk.image_row(chunk.first + line);
        if (row < 0) continue;
        result.c = c + line * lines.pitch() * kPanelColumns;
        result.bias = at_panel(biases[static_cast<std::size_t>(row / images_per_bias)], panel);
        store_at(result, epilogue,
                 (row * lines.width + chunk.column) * conv.spec.out + panel * kPanelColumns, y);
      }
    };
    const TileSession session;
    multiply_group(weights, groups, index % groups.count,
                   reinterpret_cast<float*>(mine + copy_bytes), rows_of,
                   [](std::int64_t) { return PanelTarget{}; }, finish);
  });
}

}  // namespace seamwright::model::cpu
