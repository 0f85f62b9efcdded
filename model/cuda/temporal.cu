// Attention over the frames of each position: many short sequences, one warp for each position and
// head. 16-bit types go through the tensor cores: queries and keys straight from device memory,
// values through shared memory while scores are made.
#include <cmath>

#include "model/cuda/kernels.h"
#include "model/cuda/kernels/dispatch.h"

namespace seamwright::model::cuda {
namespace {

constexpr int kMaxFrames = 32;
constexpr int kWarps = 4;
constexpr float kMinusInfinity = -INFINITY;

// ---- any type: a lane per query frame, the sequence in shared memory as fp32.
template <class T>
SW_KERNEL plain_kernel(TemporalCall call, float scale) {
  const int lane = thread_index(), d = call.head_size, f = call.frames, row = d + 1;
  const std::int64_t stride = call.positions * call.row;
  const std::int64_t at = block_x() / call.heads * call.row + block_x() % call.heads * d;
  float* q = shared_memory<float>();
  float* k = q + f * row;
  float* v = k + f * row;
  for (int i = lane; i < f * d; i += 32) {
    const std::int64_t from = i / d * stride + at + i % d;
    const int to = i / d * row + i % d;
    q[to] = to_float(static_cast<const T*>(call.q)[from]);
    k[to] = to_float(static_cast<const T*>(call.k)[from]);
    v[to] = to_float(static_cast<const T*>(call.v)[from]);
  }
  sync_warp();
  if (lane >= f) return;
  float score[kMaxFrames];
  float top = kMinusInfinity, sum = 0;
  for (int t = 0; t < f; ++t) {
    float dot = 0;
    for (int i = 0; i < d; ++i) dot += q[lane * row + i] * k[t * row + i];
    score[t] = dot * scale;
    top = score[t] > top ? score[t] : top;
  }
  for (int t = 0; t < f; ++t) {
    score[t] = exp_of(score[t] - top);
    sum += score[t];
  }
  T* y = static_cast<T*>(call.y) + (lane * call.positions * call.heads + block_x()) * d;
  for (int i = 0; i < d; ++i) {
    float total = 0;
    for (int t = 0; t < f; ++t) total += score[t] * v[t * row + i];
    y[i] = from_float<T>(total / sum);
  }
}

// ---- tensor cores. M: 16-frame tiles.
template <class T>
struct Sequence {
  const T* base;
  std::int64_t stride;  // between frames
  int frames, head_size;

  // Channels 16 step + 4 quad ... + 3 of a frame; zeros where there are none.
  SW_DEVICE void four(int frame, int step, int quad, std::uint32_t& low,
                      std::uint32_t& high) const {
    const int channel = step * 16 + quad * 4;
    low = high = 0;
    if (frame >= frames || channel >= head_size) return;
    load_four(base + frame * stride + channel, low, high);
  }
};

template <class T, int M>
SW_DEVICE void score_frames(const Sequence<T>& q, const Sequence<T>& k, int steps, int lane,
                            float (&score)[M][2 * M][4]) {
  const int group = lane / 4, quad = lane % 4;
  SW_UNROLL
  for (int m = 0; m < M; ++m) {
    SW_UNROLL
    for (int t = 0; t < 2 * M; ++t) {
      SW_UNROLL
      for (int i = 0; i < 4; ++i) score[m][t][i] = 0;
    }
  }
  for (int s = 0; s < steps; ++s) {
    std::uint32_t a[M][4], b[2 * M][2];
    SW_UNROLL
    for (int m = 0; m < M; ++m) {
      q.four(m * 16 + group, s, quad, a[m][0], a[m][2]);
      q.four(m * 16 + group + 8, s, quad, a[m][1], a[m][3]);
    }
    SW_UNROLL
    for (int t = 0; t < 2 * M; ++t) k.four(t * 8 + group, s, quad, b[t][0], b[t][1]);
    SW_UNROLL
    for (int m = 0; m < M; ++m) {
      SW_UNROLL
      for (int t = 0; t < 2 * M; ++t) multiply_fragments<T>(score[m][t], a[m], b[t][0], b[t][1]);
    }
  }
}

// Scores to probabilities of every query's row.
template <int M>
SW_DEVICE void normalise(float (&score)[M][2 * M][4], int frames, float scale, int lane) {
  SW_UNROLL
  for (int m = 0; m < M; ++m) {
    SW_UNROLL
    for (int h = 0; h < 2; ++h) {
      float top = kMinusInfinity, sum = 0;
      SW_UNROLL
      for (int t = 0; t < 2 * M; ++t) {
        SW_UNROLL
        for (int i = 2 * h; i < 2 * h + 2; ++i) {
          const bool there = t * 8 + lane % 4 * 2 + i % 2 < frames;
          score[m][t][i] = there ? score[m][t][i] * scale : kMinusInfinity;
          top = score[m][t][i] > top ? score[m][t][i] : top;
        }
      }
      SW_UNROLL
      for (int mask = 1; mask <= 2; mask *= 2) {
        const float other = shuffle_xor(top, mask);
        top = other > top ? other : top;
      }
      SW_UNROLL
      for (int t = 0; t < 2 * M; ++t) {
        SW_UNROLL
        for (int i = 2 * h; i < 2 * h + 2; ++i) {
          score[m][t][i] = exp2_fast(score[m][t][i] - top);
          sum += score[m][t][i];
        }
      }
      sum += shuffle_xor(sum, 1);
      sum += shuffle_xor(sum, 2);
      SW_UNROLL
      for (int t = 0; t < 2 * M; ++t) {
        score[m][t][2 * h] /= sum;
        score[m][t][2 * h + 1] /= sum;
      }
    }
  }
}

// Sixteen-byte units between frames in shared memory: one more than a frame has, since whole 16
// channels are read, and odd, so that eight frames lie in different banks.
SW_DEVICE int frame_units(int head_size) { return (head_size / 8 + 1) | 1; }

// Values in shared memory, zeros where there is no frame.
template <class T, int M>
SW_DEVICE void fetch_values(const Sequence<T>& v, T* tile, int lane) {
  const int units = v.head_size / 8, row = frame_units(v.head_size) * 8;
  for (int i = lane; i < 16 * M * units; i += 32) {
    const int frame = i / units, unit = i % units;
    const bool there = frame < v.frames;
    copy_async(tile + frame * row + unit * 8, v.base + (there ? frame * v.stride : 0) + unit * 8,
               there);
  }
  commit_copies();
}

// Results take the place of the values they were made of, sixteen channels after the other, and
// leave in whole units.
template <class T, int M>
SW_DEVICE void mix_frames(const float (&weight)[M][2 * M][4], const Sequence<T>& v, T* tile, T* y,
                          std::int64_t y_stride, int lane) {
  const int group = lane / 4, quad = lane % 4, row = frame_units(v.head_size) * 8;
  std::uint32_t a[M][M][4];
  SW_UNROLL
  for (int m = 0; m < M; ++m) {
    SW_UNROLL
    for (int k = 0; k < M; ++k) {
      SW_UNROLL
      for (int i = 0; i < 4; ++i) {
        const auto& pair = weight[m][2 * k + i / 2];
        a[m][k][i] = pack_two<T>(pair[i % 2 * 2], pair[i % 2 * 2 + 1]);
      }
    }
  }
  const T* from = tile + (lane / 8 % 2 * 8 + lane % 8) * row + lane / 16 * 8;
  for (int column = 0; column < v.head_size; column += 16) {
    float out[M][2][4] = {};
    SW_UNROLL
    for (int k = 0; k < M; ++k) {
      std::uint32_t b[4];
      load_matrices_transposed(b, from + k * 16 * row + column);
      SW_UNROLL
      for (int m = 0; m < M; ++m) {
        multiply_fragments<T>(out[m][0], a[m][k], b[0], b[1]);
        multiply_fragments<T>(out[m][1], a[m][k], b[2], b[3]);
      }
    }
    sync_warp();
    SW_UNROLL
    for (int m = 0; m < M; ++m) {
      SW_UNROLL
      for (int i = 0; i < 4; ++i) {  // half of the columns, half of the frames
        const int at = (m * 16 + i % 2 * 8 + group) * row + column + i / 2 * 8 + quad * 2;
        *reinterpret_cast<std::uint32_t*>(tile + at) =
            pack_two<T>(out[m][i / 2][i % 2 * 2], out[m][i / 2][i % 2 * 2 + 1]);
      }
    }
  }
  sync_warp();
  const int units = v.head_size / 8;
  using Unit = Pack<T, 8>;
  for (int i = lane; i < v.frames * units; i += 32) {
    const int frame = i / units, unit = i % units;
    *reinterpret_cast<Unit*>(y + frame * y_stride + unit * 8) =
        *reinterpret_cast<const Unit*>(tile + frame * row + unit * 8);
  }
}

template <class T, int M>
SW_KERNEL tensor_kernel(TemporalCall call, float scale) {
  const int lane = thread_index() % 32, warp = thread_index() / 32;
  const std::int64_t index = block_x() * kWarps + warp;
  if (index >= call.positions * call.heads) return;  // whole warps
  const std::int64_t stride = call.positions * call.row;
  const std::int64_t at = index / call.heads * call.row + index % call.heads * call.head_size;
  const auto sequence = [&](const void* x) {
    return Sequence<T>{static_cast<const T*>(x) + at, stride, call.frames, call.head_size};
  };
  T* tile = shared_memory<T>() + warp * 16 * M * frame_units(call.head_size) * 8;
  const auto v = sequence(call.v);
  fetch_values<T, M>(v, tile, lane);
  float score[M][2 * M][4];
  score_frames<T, M>(sequence(call.q), sequence(call.k), (call.head_size + 15) / 16, lane, score);
  normalise<M>(score, call.frames, scale, lane);
  wait_copies<0>();
  sync_warp();
  mix_frames<T, M>(score, v, tile, static_cast<T*>(call.y) + index * call.head_size,
                   call.positions * call.heads * call.head_size, lane);
}

template <class T>
void start_tensor(const TemporalCall& call, float scale, Stream stream) {
  const Grid grid{ceil_div(call.positions * call.heads, kWarps)};
  const int tiles = call.frames <= 16 ? 1 : 2;
  const std::size_t shared = static_cast<std::size_t>(kWarps * 16 * tiles) *
                             static_cast<std::size_t>((call.head_size / 8 + 1) | 1) * 16;
  check_limit("bytes of one block's frames in temporal attention",
              static_cast<std::int64_t>(shared), std::int64_t{96} << 10);
  const auto kernel = tiles == 1 ? &tensor_kernel<T, 1> : &tensor_kernel<T, 2>;
  launch(kernel, grid, 32 * kWarps, shared, stream, call, scale);
}

}  // namespace

void attend_over_frames(Element type, const TemporalCall& call, Stream stream) {
  check_limit("frames of a window", call.frames, kMaxFrames);
  constexpr double kLog2e = 1.4426950408889634;
  const double scale = 1.0 / std::sqrt(static_cast<double>(call.head_size));
  if (type != Element::kF32 && call.head_size % 8 == 0 && call.row % 8 == 0) {
    check(aligned_16(call.q, call.k, call.v, call.y),
          "temporal attention's tensors must be 16-byte aligned");
    const auto scaled = static_cast<float>(kLog2e * scale);
    if (type == Element::kBf16) return start_tensor<Bf16>(call, scaled, stream);
    return start_tensor<Half>(call, scaled, stream);
  }
  const std::size_t shared =
      3 * sizeof(float) * static_cast<std::size_t>(call.frames * (call.head_size + 1));
  check_limit("bytes of one head's frames in temporal attention", static_cast<std::int64_t>(shared),
              std::int64_t{96} << 10);
  with_type(type, [&](auto tag) {
    using T = decltype(tag);
    launch(&plain_kernel<T>, {call.positions * call.heads}, 32, shared, stream, call,
           static_cast<float>(scale));
  });
}

}  // namespace seamwright::model::cuda
