#include "model/cpu/tiles/tile_kernels.h"

#include <immintrin.h>

// From here to the end of the file everything is compiled for this instruction set, as in
// simd/kernels_avx512.cpp: nothing from the standard library may follow.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // both false in g++ 12's own immintrin.h
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16")

namespace seamwright::model::cpu {
namespace {

// Each of these needs the ones before it.
// clang-format off
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

constexpr std::int64_t kTileBytes = 1024, kTileRowBytes = 64, kCRow = 32 * sizeof(float),
                       kCTile = 16;

// One block of 32 rows and 32 columns, or of 16 rows; a_step: bytes between a row's runs of 32.
template <bool kTwo>
inline void multiply_block(const char* a, std::int64_t a_stride, std::int64_t a_step, const char* b,
                           std::int64_t steps, float* c, bool add) {
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
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
      a1 += a_step;
    }
    a += a_step;
    b += 2 * kTileBytes;
  }
  _tile_stored(0, c, kCRow);
  _tile_stored(1, c + kCTile, kCRow);
  if constexpr (kTwo) {
    _tile_stored(2, c1, kCRow);
    _tile_stored(3, c1 + kCTile, kCRow);
  }
}

// erf without a division, minimax on |x| <= 3.2 in u = 2 (x / 3.2)^2 - 1; absolute error below
// 8e-6, a five-hundredth of what bf16 keeps of a gate.
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
inline __m256i to_bf16(V x) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)); }
inline void store_rounded(Bf16* p, V x, std::int64_t n) {
  _mm256_mask_storeu_epi16(p, lanes(n), to_bf16(x));
}

#include "model/cpu/simd/panel_result.inc"

// Lambdas on vectors would get conversion functions without this file's target.
struct StoreRounded {
  void operator()(Bf16* y, V v, std::int64_t n) const { store_rounded(y, v, n); }
};
struct StoreWide {
  void operator()(float* y, V v, std::int64_t n) const { store_n(y, v, n); }
};

// Static: g++ 12 believes that the instruction reads eight bytes only, and drops other writes.
constexpr TileConfig kConfig;
__attribute__((noinline)) void set_up() { _tile_loadconfig(&kConfig); }
__attribute__((noinline)) void clear() { _tile_release(); }

// clang-format off
#include "model/cpu/tiles/product.inc"

#include "model/cpu/tiles/attention.inc"
#include "model/cpu/tiles/norm.inc"
// clang-format on

}  // namespace

// Declared above, without this file's target: they only pass on.
TileSession::TileSession() { set_up(); }
TileSession::~TileSession() { clear(); }
void multiply_tiles(const TileProduct& product, const TileResult& before) {
  multiply_and_store(product, before);
}
void store_tiles(const TileResult& result) { store_only(result); }
void sum_bf16_channels(const Bf16* x, std::int64_t rows, std::int64_t channels, double* sums,
                       double* squares) {
  sum_channels(x, rows, channels, sums, squares);
}
void scale_bf16_rows(bool silu, const Bf16* x, std::int64_t rows, std::int64_t channels,
                     const float* scale, const float* shift, Bf16* y) {
  silu ? scale_rows<true>(x, rows, channels, scale, shift, y)
       : scale_rows<false>(x, rows, channels, scale, shift, y);
}
void normalize_bf16_rows(const Bf16* x, std::int64_t rows, std::int64_t channels,
                         const float* scale, const float* shift, float eps, const Bf16* position,
                         Bf16* y) {
  normalize(x, rows, channels, scale, shift, eps, position, y);
}
void attend_tiles(const AttentionTask<Bf16>& task) { attend(task); }
std::int64_t attention_tiles_work(std::int64_t head, std::int64_t keys) {
  return TiledAttention(head, keys, nullptr).floats();
}

}  // namespace seamwright::model::cpu
