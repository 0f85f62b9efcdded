// Attention in tiles on the tensor cores: scores live in registers, keys and values pass through
// shared memory while the next tile is on its way.
#include <cmath>

#include "model/cuda/kernels.h"
#include "model/cuda/kernels/dispatch.h"

namespace seamwright::model::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;
constexpr float kMinusInfinity = -INFINITY;

// D: the head size, padded to a multiple of 16. M: 16-row tiles
// of queries per warp. K: keys of a tile.
template <class T, int D, int M, int K>
struct Tiles {
  // Rows of D + 8 elements are an odd number of 16-byte units: no bank conflicts.
  static constexpr int kTile = K * (D + 8);  // elements of one tile of keys or values
  static constexpr int kQueries = 16 * M * kWarps;
  static_assert(K % 16 == 0 && kQueries <= 2 * K);  // queries pass through the same memory first
};

struct Rows {
  std::int64_t count, stride;  // valid rows; elements between them
  int head_size;
};

// Copies `tile_rows` rows from `from` into shared memory, zeros beyond what is valid.
template <class T, int D>
SW_DEVICE void load_rows(T* shared, const T* from, std::int64_t first, const Rows& rows,
                         int tile_rows) {
  constexpr int kRow = D + 8, kUnits = D / 8;
  for (int i = thread_index(); i < tile_rows * kUnits; i += kThreads) {
    const int r = i / kUnits, unit = i % kUnits;
    const bool valid = first + r < rows.count && unit * 8 < rows.head_size;
    const T* source = valid ? from + (first + r) * rows.stride + unit * 8 : from;
    copy_async(shared + r * kRow + unit * 8, source, valid);
  }
}

// What a warp keeps of its queries while it walks over the keys.
template <class T, int D, int M>
struct Running {
  std::uint32_t query[M][D / 16][4];
  float out[M][D / 8][4];
  float highest[M][2], sum[M][2];  // of rows g and g + 8

  SW_DEVICE void start(const T* shared, int warp, int lane) {
    SW_UNROLL
    for (int m = 0; m < M; ++m) {
      const T* row = shared + ((warp * M + m) * 16 + lane % 16) * (D + 8) + lane / 16 * 8;
      SW_UNROLL
      for (int k = 0; k < D / 16; ++k) load_matrices(query[m][k], row + k * 16);
      SW_UNROLL
      for (int c = 0; c < D / 8; ++c) {
        SW_UNROLL
        for (int i = 0; i < 4; ++i) out[m][c][i] = 0;
      }
      SW_UNROLL
      for (int h = 0; h < 2; ++h) {
        highest[m][h] = kMinusInfinity;
        sum[m][h] = 0;
      }
    }
  }
};

template <class T, int D, int M, int K>
SW_DEVICE void score_tile(const Running<T, D, M>& run, const T* keys, int lane,
                          float (&score)[M][K / 8][4]) {
  SW_UNROLL
  for (int m = 0; m < M; ++m) {
    SW_UNROLL
    for (int t = 0; t < K / 8; ++t) {
      SW_UNROLL
      for (int i = 0; i < 4; ++i) score[m][t][i] = 0;
    }
  }
  const T* row = keys + (lane / 16 * 8 + lane % 8) * (D + 8) + lane / 8 % 2 * 8;
  SW_UNROLL
  for (int k = 0; k < D / 16; ++k) {
    SW_UNROLL
    for (int t = 0; t < K / 16; ++t) {
      std::uint32_t b[4];
      load_matrices(b, row + t * 16 * (D + 8) + k * 16);
      SW_UNROLL
      for (int m = 0; m < M; ++m) {
        multiply_fragments<T>(score[m][2 * t], run.query[m][k], b[0], b[1]);
        multiply_fragments<T>(score[m][2 * t + 1], run.query[m][k], b[2], b[3]);
      }
    }
  }
}

// Scores to powers of two relative to the rows' running maximum; what was summed so far follows.
// `valid`: keys of this tile that exist. `scale` takes a score to an exponent of two.
template <class T, int D, int M, int K>
SW_DEVICE void soften(Running<T, D, M>& run, float (&score)[M][K / 8][4], int valid, float scale,
                      int lane) {
  SW_UNROLL
  for (int m = 0; m < M; ++m) {
    if (valid < K) {
      SW_UNROLL
      for (int t = 0; t < K / 8; ++t) {
        SW_UNROLL
        for (int i = 0; i < 4; ++i) {
          if (t * 8 + lane % 4 * 2 + i % 2 >= valid) score[m][t][i] = kMinusInfinity;
        }
      }
    }
    float top[2] = {run.highest[m][0], run.highest[m][1]};
    SW_UNROLL
    for (int t = 0; t < K / 8; ++t) {
      SW_UNROLL
      for (int i = 0; i < 4; ++i) top[i / 2] = greater_of(top[i / 2], score[m][t][i]);
    }
    float fade[2], shift[2];
    SW_UNROLL
    for (int h = 0; h < 2; ++h) {
      top[h] = greater_of(top[h], shuffle_xor(top[h], 1));
      top[h] = greater_of(top[h], shuffle_xor(top[h], 2));
      fade[h] = exp2_fast((run.highest[m][h] - top[h]) * scale);
      shift[h] = top[h] * scale;
      run.highest[m][h] = top[h];
      run.sum[m][h] *= fade[h];
    }
    SW_UNROLL
    for (int t = 0; t < K / 8; ++t) {
      SW_UNROLL
      for (int i = 0; i < 4; ++i) {
        score[m][t][i] = exp2_fast(score[m][t][i] * scale - shift[i / 2]);
        run.sum[m][i / 2] += score[m][t][i];
      }
    }
    SW_UNROLL
    for (int c = 0; c < D / 8; ++c) {
      SW_UNROLL
      for (int i = 0; i < 4; ++i) run.out[m][c][i] *= fade[i / 2];
    }
  }
}

template <class T, int D, int M, int K>
SW_DEVICE void add_values(Running<T, D, M>& run, const float (&weight)[M][K / 8][4],
                          const T* values, int lane) {
  const T* row = values + (lane / 8 % 2 * 8 + lane % 8) * (D + 8) + lane / 16 * 8;
  SW_UNROLL
  for (int k = 0; k < K / 16; ++k) {
    std::uint32_t a[M][4];
    SW_UNROLL
    for (int m = 0; m < M; ++m) {
      SW_UNROLL
      for (int i = 0; i < 4; ++i) {
        const auto& pair = weight[m][2 * k + i / 2];
        a[m][i] = pack_two<T>(pair[i % 2 * 2], pair[i % 2 * 2 + 1]);
      }
    }
    SW_UNROLL
    for (int c = 0; c < D / 16; ++c) {
      std::uint32_t b[4];
      load_matrices_transposed(b, row + k * 16 * (D + 8) + c * 16);
      SW_UNROLL
      for (int m = 0; m < M; ++m) {
        multiply_fragments<T>(run.out[m][2 * c], a[m], b[0], b[1]);
        multiply_fragments<T>(run.out[m][2 * c + 1], a[m], b[2], b[3]);
      }
    }
  }
}

template <class T, int D, int M>
SW_DEVICE void store(Running<T, D, M>& run, T* y, std::int64_t first, const Rows& rows, int lane) {
  SW_UNROLL
  for (int m = 0; m < M; ++m) {
    SW_UNROLL
    for (int h = 0; h < 2; ++h) {
      float sum = run.sum[m][h];
      sum += shuffle_xor(sum, 1);
      sum += shuffle_xor(sum, 2);
      const std::int64_t row = first + m * 16 + h * 8 + lane / 4;
      if (row >= rows.count) continue;  // whole groups of four lanes; no shuffle crosses groups
      SW_UNROLL
      for (int c = 0; c < D / 8; ++c) {
        const int column = c * 8 + lane % 4 * 2;
        if (column >= rows.head_size) continue;
        *reinterpret_cast<std::uint32_t*>(y + row * rows.stride + column) =
            pack_two<T>(run.out[m][c][2 * h] / sum, run.out[m][c][2 * h + 1] / sum);
      }
    }
  }
}

template <class T, int D, int M, int K>
SW_KERNEL SW_BOUNDS(kThreads, 1) tile_kernel(AttentionCall call, float scale) {
  using S = Tiles<T, D, M, K>;
  const int warp = thread_index() / 32, lane = thread_index() % 32;
  const std::int64_t y_row = static_cast<std::int64_t>(call.heads) * call.head_size;
  const std::int64_t head = block_y() * call.head_size;
  const std::int64_t from = block_z() * call.queries * call.row + head;
  const std::int64_t keys_from = (call.shared_keys ? 0 : block_z() * call.keys * call.row) + head;
  const std::int64_t first = block_x() * S::kQueries;
  const Rows query_rows{call.queries, call.row, call.head_size};
  const Rows key_rows{call.keys, call.row, call.head_size};
  const T* k = static_cast<const T*>(call.k) + keys_from;
  const T* v = static_cast<const T*>(call.v) + keys_from;
  T* shared = shared_memory<T>();

  load_rows<T, D>(shared, static_cast<const T*>(call.q) + from, first, query_rows, S::kQueries);
  commit_copies();
  wait_copies<0>();
  sync_block();
  Running<T, D, M> run;
  run.start(shared, warp, lane);
  sync_block();

  const auto fetch = [&](std::int64_t tile) {
    T* stage = shared + tile % 2 * 2 * S::kTile;
    load_rows<T, D>(stage, k, tile * K, key_rows, K);
    load_rows<T, D>(stage + S::kTile, v, tile * K, key_rows, K);
    commit_copies();
  };
  const std::int64_t tiles = (call.keys + K - 1) / K;
  fetch(0);
  for (std::int64_t tile = 0; tile < tiles; ++tile) {
    if (tile + 1 < tiles) {
      fetch(tile + 1);
      wait_copies<1>();
    } else {
      wait_copies<0>();
    }
    sync_block();
    const T* stage = shared + tile % 2 * 2 * S::kTile;
    float score[M][K / 8][4];
    score_tile<T, D, M, K>(run, stage, lane, score);
    const std::int64_t left = call.keys - tile * K;
    soften<T, D, M, K>(run, score, left < K ? static_cast<int>(left) : K, scale, lane);
    add_values<T, D, M, K>(run, score, stage + S::kTile, lane);
    sync_block();
  }
  store<T, D, M>(run, static_cast<T*>(call.y) + block_z() * call.queries * y_row + head,
                 first + warp * M * 16, {call.queries, y_row, call.head_size}, lane);
}

template <class T, int D, int M, int K = 64>
void start_tiles(const AttentionCall& call, Stream stream) {
  using S = Tiles<T, D, M, K>;
  constexpr double kLog2e = 1.4426950408889634;
  const auto scale = static_cast<float>(kLog2e / std::sqrt(static_cast<double>(call.head_size)));
  // Keys and values of the tile at work, and of the next if there is one.
  const std::size_t tiles = call.keys <= K ? 2 : 4;
  launch(&tile_kernel<T, D, M, K>, {ceil_div(call.queries, S::kQueries), call.heads, call.n},
         kThreads, tiles * S::kTile * sizeof(T), stream, call, scale);
}

// A prompt's keys in one tile, and fewer queries a block, since there is little to do for each:
// more blocks must be under way.
constexpr int kPromptKeys = 80;

template <class T>
void start_for_size(const AttentionCall& call, Stream stream) {
  const int d = call.head_size;
  const bool prompt = call.keys <= kPromptKeys;
  if (d <= 16) return start_tiles<T, 16, 2>(call, stream);
  if (d <= 32) return start_tiles<T, 32, 2>(call, stream);
  if (d <= 48 && prompt) return start_tiles<T, 48, 1, kPromptKeys>(call, stream);
  if (d <= 48) return start_tiles<T, 48, 2>(call, stream);
  if (d <= 64 && prompt) return start_tiles<T, 64, 1, kPromptKeys>(call, stream);
  if (d <= 64) return start_tiles<T, 64, 2>(call, stream);
  if (d <= 80) return start_tiles<T, 80, 1>(call, stream);
  if (d <= 128) return start_tiles<T, 128, 1>(call, stream);
  start_tiles<T, 160, 1>(call, stream);
}

// One warp per row of scores.
template <class T>
SW_KERNEL softmax_kernel(SoftmaxCall call) {
  const std::int64_t row = block_x() * kWarps + thread_index() / 32;
  const int lane = thread_index() % 32;
  const bool mine = row < call.rows;
  const std::int64_t r = mine ? row : 0;
  const std::int64_t seen = call.causal ? call.first_query + r % call.rows_per_head + 1 : call.keys;
  const float* scores = call.scores + r * call.keys;
  float top = kMinusInfinity;
  for (std::int64_t t = lane; t < seen; t += 32) top = scores[t] > top ? scores[t] : top;
  for (int mask = 16; mask > 0; mask /= 2) {
    const float other = shuffle_xor(top, mask);
    top = other > top ? other : top;
  }
  float sum = 0;
  for (std::int64_t t = lane; t < seen; t += 32) sum += exp_of(scores[t] - top);
  for (int mask = 16; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
  if (!mine) return;
  T* out = static_cast<T*>(call.probabilities) + row * call.keys;
  for (std::int64_t t = lane; t < call.keys; t += 32) {
    out[t] = from_float<T>(t < seen ? exp_of(scores[t] - top) / sum : 0.0F);
  }
}

}  // namespace

bool can_attend_in_tiles(Element type, const AttentionCall& call) {
  return type != Element::kF32 && call.head_size % 8 == 0 && call.head_size <= 160 &&
         call.row % 8 == 0;
}

void attend_in_tiles(Element type, const AttentionCall& call, Stream stream) {
  check(aligned_16(call.q, call.k, call.v, call.y), "attention's tensors must be 16-byte aligned");
  if (type == Element::kBf16) return start_for_size<Bf16>(call, stream);
  start_for_size<Half>(call, stream);
}

void softmax(Element type, const SoftmaxCall& call, Stream stream) {
  with_type(type, [&](auto tag) {
    using T = decltype(tag);
    launch(&softmax_kernel<T>, {ceil_div(call.rows, kWarps)}, kThreads, 0, stream, call);
  });
}

}  // namespace seamwright::model::cuda
