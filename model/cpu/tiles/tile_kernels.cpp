#include "model/cpu/tiles/tile_kernels.h"

#include <immintrin.h>

// From here to the end of the file everything is compiled for this instruction set, as in
// simd/kernels_avx512.cpp: nothing from the standard library may follow.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // false in g++ 12's own immintrin.h
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16")

namespace seamwright::model::cpu {
namespace {

// clang-format off: each of these needs the ones before it
#include "model/cpu/simd/vec_avx512.inc"
#include "model/cpu/simd/math.inc"
// clang-format on

// Eight tiles of 16 rows of 64 bytes: 0 to 3 hold sums, 4 and 5 rows of a, 6 and 7 columns of b.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);

constexpr std::int64_t kTileBytes = 1024, kCRow = 32 * sizeof(float), kCTile = 16;

// One block of 32 rows and 32 columns, or of 16 rows.
template <bool kTwo>
inline void multiply_block(const char* a, std::int64_t a_stride, const char* b, std::int64_t steps,
                           float* c, bool add, const char* fetch, std::int64_t lines) {
  float* const c1 = c + 16 * 32;
  if (add) {
    _tile_loadd(0, c, kCRow);
    _tile_loadd(1, c + kCTile, kCRow);
    if constexpr (kTwo) {
      _tile_loadd(2, c1, kCRow);
      _tile_loadd(3, c1 + kCTile, kCRow);
    }
  } else {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (kTwo) {
      _tile_zero(2);
      _tile_zero(3);
    }
  }
  const char* a1 = a + 16 * a_stride;
  for (std::int64_t k = 0; k < steps; ++k) {
    _tile_loadd(4, a, a_stride);
    _tile_loadd(6, b, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + kTileBytes, 64);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kTwo) {
      _tile_loadd(5, a1, a_stride);
      for (std::int64_t i = 0; i < lines; ++i, fetch += 64) _mm_prefetch(fetch, _MM_HINT_T1);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
      a1 += 64;
    }
    a += 64;
    b += 2 * kTileBytes;
  }
  _tile_stored(0, c, kCRow);
  _tile_stored(1, c + kCTile, kCRow);
  if constexpr (kTwo) {
    _tile_stored(2, c1, kCRow);
    _tile_stored(3, c1 + kCTile, kCRow);
  }
}

// erf without a division, minimax on |x| <= 3.2 in u = 2 (x / 3.2)^2 - 1; absolute error below 8e-6,
// a five-hundredth of what bf16 keeps of a gate.
inline V erf_for_bf16(V x) {
  x = min(set1(3.2F), max(set1(-3.2F), x));  // in this order NaN stays NaN
  const V u = fma(x * x, set1(2.0F / (3.2F * 3.2F)), set1(-1.0F));
  V p = set1(0.0024872052F);
  p = fma(p, u, set1(-0.00679805782F));
  p = fma(p, u, set1(0.00907065626F));
  p = fma(p, u, set1(-0.0157155935F));
  p = fma(p, u, set1(0.0323171169F));
  p = fma(p, u, set1(-0.0543937013F));
  p = fma(p, u, set1(0.080897443F));
  p = fma(p, u, set1(-0.113724254F));
  p = fma(p, u, set1(0.154326007F));
  p = fma(p, u, set1(-0.217302889F));
  p = fma(p, u, set1(0.441334665F));
  return x * p;
}
inline V gelu_for_bf16(V x) {
  const V half = x * set1(0.5F);
  return fma(half, erf_for_bf16(x * set1(0.707106781F)), half);
}

// Nearest even in one instruction; below the normal range it gives zero.
inline __m256i to_bf16(V x) {
  return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
}
inline void store_rounded(Bf16* p, V x, std::int64_t n) {
  _mm256_mask_storeu_epi16(p, lanes(n), to_bf16(x));
}

#include "model/cpu/simd/panel_result.inc"

// Lambdas on vectors would get conversion functions without this file's target.
struct StoreRounded {
  void operator()(Bf16* y, V v, std::int64_t n) const { store_rounded(y, v, n); }
};
struct GeluForBf16 {
  V operator()(V x) const { return gelu_for_bf16(x); }
};

// Static: g++ 12 believes that the instruction reads eight bytes only, and drops other writes.
constexpr TileConfig kConfig;
__attribute__((noinline)) void set_up() { _tile_loadconfig(&kConfig); }
__attribute__((noinline)) void clear() { _tile_release(); }

inline void fetch_rows(const Bf16* first, std::int64_t stride, std::int64_t rows, bool write) {
  for (std::int64_t r = 0; r < rows; ++r) {
    if (write) {
      __builtin_prefetch(first + r * stride, 1, 2);
    } else {
      __builtin_prefetch(first + r * stride, 0, 2);
    }
  }
}

__attribute__((noinline)) void multiply(const TileProduct& p) {
  const auto* a = reinterpret_cast<const char*>(p.a);
  const auto* b = reinterpret_cast<const char*>(p.b);
  const auto* fetch = reinterpret_cast<const char*>(p.next_b);
  const std::int64_t stride = p.a_stride * 2, steps = p.depth / 32, blocks = (p.rows + 31) / 32;
  // The next block's weights have as many lines as `depth`; every step fetches a few of them.
  std::int64_t lines = fetch == nullptr ? 0 : (32 + blocks - 1) / blocks;
  if (lines > 8) lines = 8;
  const std::int64_t share = (p.next_lines + blocks - 1) / blocks;
  const Bf16* next = p.next_a;
  std::int64_t row = 0;
  for (; row + 16 < p.rows; row += 32) {
    if (p.y != nullptr) fetch_rows(p.y + row * p.y_stride, p.y_stride, 32, true);
    if (p.residual != nullptr) fetch_rows(p.residual + row * p.y_stride, p.y_stride, 32, false);
    if (share > 0) {
      fetch_rows(next, 32, share, false);
      next += share * 32;
    }
    multiply_block<true>(a + row * stride, stride, b, steps, p.c + row * 32, p.add, fetch, lines);
    fetch += lines * steps * 64;
  }
  if (row < p.rows) {
    multiply_block<false>(a + row * stride, stride, b, steps, p.c + row * 32, p.add, nullptr, 0);
  }
}

__attribute__((noinline)) void store_plain(const TileResult& result) {
  with_activation(result.activation, [&](auto first) {
    with_activation(result.last, [&](auto last) {
      store_rows<2, decltype(first)::value, decltype(last)::value>(result, StoreRounded{});
    });
  });
}

__attribute__((noinline)) void store_gated(const TileResult& result) {
  store_gated_rows<2>(result, GeluForBf16{}, StoreRounded{});
}

#include "model/cpu/tiles/attention.inc"

}  // namespace

// Declared above, without this file's target: they only pass on.
TileSession::TileSession() { set_up(); }
TileSession::~TileSession() { clear(); }
void multiply_tiles(const TileProduct& product) { multiply(product); }
void store_tiles(const TileResult& result) { store_plain(result); }
void store_gated_tiles(const TileResult& result) { store_gated(result); }
void attend_tiles(const AttentionTask<Bf16>& task) { attend(task); }
std::int64_t attention_tiles_work(std::int64_t head, std::int64_t keys) {
  return TiledAttention(head, keys, nullptr).floats();
}

}  // namespace seamwright::model::cpu
