// Folder-private: the words of gpu.h on the host. A launch runs one block after another; the
// threads of a block are fibers that change places at barriers, so that a kernel whose lanes do not
// meet where CUDA says they must fails here instead of hanging a GPU.
// Threads: one launch at a time per host thread.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#include "base/error.h"
#include "model/convert.h"
#include "model/cuda/kernels/checks.h"
#include "model/cuda/kernels/types.h"

#define SW_KERNEL inline void
#define SW_DEVICE inline
#define SW_BOUNDS(threads, blocks)
#define SW_UNROLL

namespace seamwright::model::cuda {

struct Grid {
  std::int64_t x = 1, y = 1, z = 1;
};

namespace emulated {

// What one lane offers to the others of its warp.
struct WarpSlot {
  float value;
  std::uint32_t a[4], b[2];
  const void* row;
};

struct Place {
  int thread = 0, threads = 0;
  Grid block, grid;
  unsigned char* shared = nullptr;
  WarpSlot* warp = nullptr;  // of lane 0
};
Place& place();

void sync_block();
void sync_warp();
// Runs body() for every thread of every block. `fibers`: bodies meet at barriers.
// `backwards` swaps the order in which the threads of a block take turns; results must not depend
// on it.
void run(Grid grid, int threads, std::size_t shared_bytes, bool fibers,
         const std::function<void()>& body);
void set_backwards(bool backwards);

// While this thread records, launches are kept instead of run: what capturing a stream does.
using Recording = std::vector<std::function<void()>>;
void record_to(Recording* recording);  // null: run again
// Runs `work`, or keeps it.
void run_or_record(std::function<void()> work);

}  // namespace emulated

inline int thread_index() { return emulated::place().thread; }
inline int thread_count() { return emulated::place().threads; }
inline std::int64_t block_x() { return emulated::place().block.x; }
inline std::int64_t block_y() { return emulated::place().block.y; }
inline std::int64_t block_z() { return emulated::place().block.z; }
inline std::int64_t blocks_x() { return emulated::place().grid.x; }

inline void sync_block() { emulated::sync_block(); }
inline void sync_warp() { emulated::sync_warp(); }
inline float shuffle_xor(float value, int mask) {
  auto& here = emulated::place();
  const int lane = here.thread % 32;
  here.warp[lane].value = value;
  sync_warp();
  const float theirs = here.warp[lane ^ mask].value;
  sync_warp();
  return theirs;
}

template <class T>
T* shared_memory() {
  return reinterpret_cast<T*>(emulated::place().shared);
}

inline float bits_to_float(std::uint32_t bits) { return std::bit_cast<float>(bits); }
inline float half_bits_to_float(std::uint16_t bits) { return half_to_float(bits); }
inline std::uint16_t float_to_bf16_bits(float x) { return float_to_bf16(x); }
inline std::uint16_t float_to_half_bits(float x) { return float_to_half(x); }

inline float exp_of(float x) { return std::exp(x); }
inline float erf_of(float x) { return std::erf(x); }
inline float tanh_of(float x) { return std::tanh(x); }
inline float greater_of(float a, float b) { return a > b ? a : b; }
inline int nearest_even(float x) { return static_cast<int>(std::nearbyint(x)); }
inline float inverse_root(float x) { return 1.0F / std::sqrt(x); }
inline float sigmoid_of(float x) { return 1.0F / (1.0F + std::exp(-x)); }
inline float exp2_fast(float x) { return std::exp2(x); }

inline void copy_async(void* shared, const void* global, bool valid) {
  if (valid) {
    std::memcpy(shared, global, 16);
  } else {
    std::memset(shared, 0, 16);
  }
}
inline void commit_copies() {}
template <int kStillFlying>
void wait_copies() {}

// As PTX describes ldmatrix .x4: lanes 8i..8i+7 name the eight rows of matrix i, and lane l gets,
// of every matrix, elements 2 (l % 4) and the next of row l / 4 (transposed: of column l / 4).
void load_matrices(std::uint32_t (&to)[4], const void* row);
void load_matrices_transposed(std::uint32_t (&to)[4], const void* row);

// As PTX describes mma.m16n8k16 with 16-bit operands and fp32 sums.
void multiply_fragments_as(float (*widen)(std::uint16_t), float (&acc)[4],
                           const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1);
struct Bf16;
struct Half;
template <class T>
void multiply_fragments(float (&acc)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                        std::uint32_t b1);
template <>
inline void multiply_fragments<Bf16>(float (&acc)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                     std::uint32_t b1) {
  multiply_fragments_as(&bf16_to_float, acc, a, b0, b1);
}
template <>
inline void multiply_fragments<Half>(float (&acc)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                     std::uint32_t b1) {
  multiply_fragments_as(&half_to_float, acc, a, b0, b1);
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), Grid grid, int threads, std::size_t shared_bytes, Stream,
            const Arguments&... arguments) {
  check(grid.y <= 65535 && grid.z <= 65535, "a grid is too large for CUDA");
  ensure(threads > 0 && threads <= 1024 && threads % 32 == 0, "a block of {} threads", threads);
  ensure(shared_bytes <= (std::size_t{99} << 10), "{} bytes of shared memory", shared_bytes);
  emulated::run_or_record([=] {
    emulated::run(grid, threads, shared_bytes, true,
                  [&] { kernel(static_cast<Parameters>(arguments)...); });
  });
}
template <class... Parameters, class... Arguments>
void launch_independent(void (*kernel)(Parameters...), Grid grid, int threads, Stream,
                        const Arguments&... arguments) {
  emulated::run_or_record([=] {
    emulated::run(grid, threads, 0, false, [&] { kernel(static_cast<Parameters>(arguments)...); });
  });
}

}  // namespace seamwright::model::cuda
