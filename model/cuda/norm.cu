// Group norm, with SiLU in the same pass, and layer norm. Sums have a fixed order: chunks follow
// from the shape alone, lanes and chunks are added in one order.
#include <algorithm>

#include "model/cuda/kernels.h"
#include "model/cuda/kernels/dispatch.h"

namespace seamwright::model::cuda {
namespace {

constexpr int kThreads = 256;
// A chunk is so many rows for each thread at 8 channels a thread: few, since a row's time is that
// of reaching memory; more only where a run would have too many chunks.
constexpr std::int64_t kRowsPerThread = 8, kMostChunks = 4096;
constexpr int kAtOnce = 4;  // rows on their way together

// How a block walks [rows, channels]: each thread keeps `N` neighbouring channels and steps over
// rows; blocks with more columns than threads take several rounds of columns.
struct Walk {
  std::int64_t rows, rows_per_chunk;
  int channels, groups, columns, row_lanes;
};

// The same for every type, and from the shape alone: the order of sums follows from it.
std::int64_t rows_per_chunk(const GroupNormCall& call) {
  const std::int64_t lanes = std::max(1, kThreads * 8 / call.channels);
  const std::int64_t rows = std::max(kRowsPerThread * lanes, ceil_div(call.rows, kMostChunks));
  return std::min(rows, call.rows);
}

template <int N>
Walk walk_of(const GroupNormCall& call) {
  Walk w{call.rows, rows_per_chunk(call), call.channels, call.groups, call.channels / N, 1};
  w.row_lanes = std::max(1, kThreads / w.columns);
  return w;
}

std::int64_t chunks_of(const GroupNormCall& call) {
  return ceil_div(call.rows, rows_per_chunk(call));
}

// body(row, pack) for this thread's rows of [begin, end), in
// order; several are on their way at once.
template <class P, class Load, class Body>
SW_DEVICE void walk_rows(std::int64_t begin, std::int64_t end, int step, const Load& load,
                         const Body& body) {
  std::int64_t r = begin;
  for (; r + (kAtOnce - 1) * step < end; r += kAtOnce * step) {
    P in[kAtOnce];
    SW_UNROLL
    for (int j = 0; j < kAtOnce; ++j) in[j] = load(r + j * step);
    SW_UNROLL
    for (int j = 0; j < kAtOnce; ++j) body(r + j * step, in[j]);
  }
  for (; r < end; r += step) body(r, load(r));
}

struct Sums {
  float sum, squares;  // of x minus the group's first element, which keeps a large mean harmless
};
struct Moments {
  float mean, scale;
};

template <class T>
SW_DEVICE float pivot_of(const T* run, int group, int group_width) {
  return to_float(run[static_cast<std::int64_t>(group) * group_width]);
}

// Sums per group of one chunk of rows. Shared memory: Sums[row_lanes][channels].
template <class T, int N>
SW_KERNEL group_sums_kernel(const T* x, Sums* partial, Walk w) {
  auto* shared = shared_memory<Sums>();
  const int width = w.channels / w.groups;
  const T* run = x + block_y() * w.rows * w.channels;
  const std::int64_t begin = block_x() * w.rows_per_chunk;
  const std::int64_t end = begin + w.rows_per_chunk < w.rows ? begin + w.rows_per_chunk : w.rows;
  const int lane = thread_index() / w.columns;
  for (int column = thread_index() % w.columns; column < w.columns && lane < w.row_lanes;
       column += kThreads) {
    const int c = column * N;
    float pivot[N], sum[N], squares[N];
    SW_UNROLL
    for (int i = 0; i < N; ++i) {
      pivot[i] = pivot_of(run, (c + i) / width, width);
      sum[i] = squares[i] = 0;
    }
    using P = Pack<T, N>;
    walk_rows<P>(
        begin + lane, end, w.row_lanes,
        [&](std::int64_t r) { return *reinterpret_cast<const P*>(run + r * w.channels + c); },
        [&](std::int64_t, const P& in) {
          SW_UNROLL
          for (int i = 0; i < N; ++i) {
            const float d = to_float(in.at[i]) - pivot[i];
            sum[i] += d;
            squares[i] += d * d;
          }
        });
    for (int i = 0; i < N; ++i) shared[lane * w.channels + c + i] = {sum[i], squares[i]};
  }
  sync_block();
  for (int g = thread_index(); g < w.groups; g += kThreads) {
    Sums total{0, 0};
    for (int l = 0; l < w.row_lanes; ++l) {
      for (int c = g * width; c < (g + 1) * width; ++c) {
        total.sum += shared[l * w.channels + c].sum;
        total.squares += shared[l * w.channels + c].squares;
      }
    }
    partial[(block_y() * blocks_x() + block_x()) * w.groups + g] = total;
  }
}

// One warp per (run, group) adds its chunks.
template <class T>
SW_KERNEL group_moments_kernel(const T* x, const Sums* partial, Moments* moments, Walk w,
                               std::int64_t chunks, float eps) {
  const std::int64_t run = block_x() / w.groups;
  const int g = static_cast<int>(block_x() % w.groups);
  const int width = w.channels / w.groups;
  Sums total{0, 0};
  for (std::int64_t c = thread_index(); c < chunks; c += 32) {
    const Sums one = partial[(run * chunks + c) * w.groups + g];
    total.sum += one.sum;
    total.squares += one.squares;
  }
  for (int mask = 16; mask > 0; mask /= 2) {
    total.sum += shuffle_xor(total.sum, mask);
    total.squares += shuffle_xor(total.squares, mask);
  }
  if (thread_index() != 0) return;
  const float count = static_cast<float>(w.rows) * static_cast<float>(width);
  const float mean = total.sum / count;
  const float variance = total.squares / count - mean * mean;
  moments[block_x()] = {pivot_of(x + run * w.rows * w.channels, g, width) + mean,
                        inverse_root((variance > 0 ? variance : 0) + eps)};
}

template <class T, int N>
SW_KERNEL group_apply_kernel(const T* x, T* y, const Moments* moments, const float* scale,
                             const float* shift, Walk w, bool silu) {
  const int width = w.channels / w.groups;
  const std::int64_t offset = block_y() * w.rows * w.channels;
  const std::int64_t begin = block_x() * w.rows_per_chunk;
  const std::int64_t end = begin + w.rows_per_chunk < w.rows ? begin + w.rows_per_chunk : w.rows;
  const int lane = thread_index() / w.columns;
  if (lane >= w.row_lanes) return;
  for (int column = thread_index() % w.columns; column < w.columns; column += kThreads) {
    const int c = column * N;
    float mean[N], factor[N], add[N];
    SW_UNROLL
    for (int i = 0; i < N; ++i) {
      const Moments m = moments[block_y() * w.groups + (c + i) / width];
      mean[i] = m.mean;
      factor[i] = m.scale * scale[c + i];
      add[i] = shift[c + i];
    }
    using P = Pack<T, N>;
    const std::int64_t at = offset + c;
    walk_rows<P>(
        begin + lane, end, w.row_lanes,
        [&](std::int64_t r) { return *reinterpret_cast<const P*>(x + at + r * w.channels); },
        [&](std::int64_t r, const P& in) {
          P out;
          SW_UNROLL
          for (int i = 0; i < N; ++i) {
            const float v = (to_float(in.at[i]) - mean[i]) * factor[i] + add[i];
            out.at[i] = from_float<T>(silu ? apply_activation(1, v) : v);
          }
          *reinterpret_cast<P*>(y + at + r * w.channels) = out;
        });
  }
}

template <class T, int N>
void group_norm_with(const GroupNormCall& call, float* scratch, Stream stream) {
  const Walk w = walk_of<N>(call);
  const std::int64_t chunks = chunks_of(call);
  auto* partial = reinterpret_cast<Sums*>(scratch);
  auto* moments = reinterpret_cast<Moments*>(partial + call.runs * chunks * call.groups);
  const auto* x = static_cast<const T*>(call.x);
  launch(&group_sums_kernel<T, N>, {chunks, call.runs}, kThreads,
         static_cast<std::size_t>(w.row_lanes * w.channels) * sizeof(Sums), stream, x, partial, w);
  launch(&group_moments_kernel<T>, {call.runs * call.groups}, 32, 0, stream, x,
         static_cast<const Sums*>(partial), moments, w, chunks, call.eps);
  launch_independent(&group_apply_kernel<T, N>, {chunks, call.runs}, kThreads, stream, x,
                     static_cast<T*>(call.y), static_cast<const Moments*>(moments), call.scale,
                     call.shift, w, call.silu);
}

// `lanes` neighbouring lanes of a warp per row, the row in
// registers: K packs of N elements per lane.
template <class T, int N, int K>
SW_KERNEL layer_norm_kernel(LayerNormCall call, int lanes) {
  const std::int64_t row = (block_x() * kThreads + thread_index()) / lanes;
  const int lane = thread_index() % lanes, packs = call.channels / N;
  const bool mine = row < call.rows;  // all of a row's lanes agree; all stay for the shuffles
  using P = Pack<T, N>;
  using Wide = Pack<float, N>;
  const T* x = static_cast<const T*>(call.x) + (mine ? row : 0) * call.channels;
  float v[K][N];
  float sum = 0;
  P in[K];
  SW_UNROLL
  for (int k = 0; k < K; ++k) {
    const int p = k * lanes + lane;
    in[k] = *reinterpret_cast<const P*>(x + (p < packs ? p : 0) * N);
  }
  SW_UNROLL
  for (int k = 0; k < K; ++k) {
    SW_UNROLL
    for (int i = 0; i < N; ++i) {
      v[k][i] = to_float(in[k].at[i]);
      sum += k * lanes + lane < packs ? v[k][i] : 0.0F;
    }
  }
  for (int mask = lanes / 2; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
  const float mean = sum / static_cast<float>(call.channels);
  float squares = 0;
  SW_UNROLL
  for (int k = 0; k < K; ++k) {
    SW_UNROLL
    for (int i = 0; i < N; ++i) {
      const float d = v[k][i] - mean;
      squares += k * lanes + lane < packs ? d * d : 0.0F;
    }
  }
  for (int mask = lanes / 2; mask > 0; mask /= 2) squares += shuffle_xor(squares, mask);
  const float factor = inverse_root(squares / static_cast<float>(call.channels) + call.eps);
  if (!mine) return;
  const T* position = static_cast<const T*>(call.position);
  if (position != nullptr) position += row / call.rows_per_position * call.channels;
  SW_UNROLL
  for (int k = 0; k < K; ++k) {
    const int p = k * lanes + lane;
    if (p >= packs) break;
    const Wide scale = *reinterpret_cast<const Wide*>(call.scale + p * N);
    const Wide shift = *reinterpret_cast<const Wide*>(call.shift + p * N);
    P place, out;
    if (position != nullptr) place = *reinterpret_cast<const P*>(position + p * N);
    SW_UNROLL
    for (int i = 0; i < N; ++i) {
      float value = (v[k][i] - mean) * factor * scale.at[i] + shift.at[i];
      if (position != nullptr) value += to_float(place.at[i]);
      out.at[i] = from_float<T>(value);
    }
    *reinterpret_cast<P*>(static_cast<T*>(call.y) + row * call.channels + p * N) = out;
  }
}

template <class T, int N>
void layer_norm_with(const LayerNormCall& call, Stream stream) {
  const std::int64_t packs = call.channels / N;
  const int lanes = packs <= 8 * 5 ? 8 : packs <= 16 * 5 ? 16 : 32;
  const auto start = [&](auto kernel) {
    launch(kernel, {ceil_div(call.rows, kThreads / lanes)}, kThreads, 0, stream, call, lanes);
  };
  const std::int64_t rounds = ceil_div(packs, lanes);
  if (rounds <= 1) return start(&layer_norm_kernel<T, N, 1>);
  if (rounds <= 2) return start(&layer_norm_kernel<T, N, 2>);
  if (rounds <= 3) return start(&layer_norm_kernel<T, N, 3>);
  if (rounds <= 5) return start(&layer_norm_kernel<T, N, 5>);
  if (rounds <= 10) return start(&layer_norm_kernel<T, N, 10>);
  if (rounds <= 40) return start(&layer_norm_kernel<T, N, 40>);
  check_limit("channels of a layer norm", call.channels, 40 * 32 * N);
}

}  // namespace

std::int64_t group_norm_scratch(const GroupNormCall& call) {
  return 2 * call.runs * call.groups * (chunks_of(call) + 1);
}

void group_norm(Element type, const GroupNormCall& call, float* scratch, Stream stream) {
  with_type(type, [&](auto tag) {
    using T = decltype(tag);
    constexpr int n = 16 / static_cast<int>(sizeof(T));
    // The order of sums follows from the width, so addresses must not choose it.
    check(aligned_16(call.x, call.y), "a group norm's tensors must be 16-byte aligned");
    if (call.channels % n == 0) return group_norm_with<T, n>(call, scratch, stream);
    group_norm_with<T, 1>(call, scratch, stream);
  });
}

void layer_norm(Element type, const LayerNormCall& call, Stream stream) {
  with_type(type, [&](auto tag) {
    using T = decltype(tag);
    constexpr int n = 16 / static_cast<int>(sizeof(T));
    check(aligned_16(call.x, call.y, call.scale, call.shift, call.position),
          "a layer norm's tensors must be 16-byte aligned");
    if (call.channels % n == 0) return layer_norm_with<T, n>(call, stream);
    layer_norm_with<T, 1>(call, stream);
  });
}

}  // namespace seamwright::model::cuda
