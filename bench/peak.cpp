#include "bench/peak.h"

#include <immintrin.h>
#include <omp.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <vector>

#include "model/cpu/cpu_backend.h"
#include "model/tensor.h"

namespace seamwright::bench {
namespace {

template <class Body>
double least_seconds(int repeats, const Body& body) {
  double least = 1e30;
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    least = std::min(least, took.count());
  }
  return least;
}

constexpr int kSteps = 400000, kChains = 12;

__attribute__((target("avx512f"))) float chains_avx512() {
  __m512 a[kChains];
  for (auto& x : a) x = _mm512_set1_ps(1);
  const __m512 b = _mm512_set1_ps(0.9999F), c = _mm512_set1_ps(1e-5F);
  for (int i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) a[j] = _mm512_fmadd_ps(a[j], b, c);
  }
  for (int j = 1; j < kChains; ++j) a[0] = _mm512_add_ps(a[0], a[j]);
  return _mm512_cvtss_f32(a[0]);
}

__attribute__((target("avx2,fma"))) float chains_avx2() {
  __m256 a[kChains];
  for (auto& x : a) x = _mm256_set1_ps(1);
  const __m256 b = _mm256_set1_ps(0.9999F), c = _mm256_set1_ps(1e-5F);
  for (int i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) a[j] = _mm256_fmadd_ps(a[j], b, c);
  }
  for (int j = 1; j < kChains; ++j) a[0] = _mm256_add_ps(a[0], a[j]);
  return _mm256_cvtss_f32(a[0]);
}

double measure_fma(int threads) {
  const bool wide = __builtin_cpu_supports("avx512f") != 0;
  std::vector<float> sinks(static_cast<std::size_t>(threads));
  const double seconds = least_seconds(20, [&] {
#pragma omp parallel num_threads(threads)
    sinks[static_cast<std::size_t>(omp_get_thread_num())] = wide ? chains_avx512() : chains_avx2();
  });
  const double lanes = wide ? 16 : 8;
  return sinks[0] > 0 ? 2.0 * kSteps * kChains * lanes * threads / seconds / 1e9 : 0;
}

using dnnl::memory;

double measure_gemm(memory::data_type type, std::int64_t rows, std::int64_t in, std::int64_t out,
                    int threads) {
  using Tag = memory::format_tag;
  const int before = omp_get_max_threads();
  omp_set_num_threads(threads);
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const memory::desc x({rows, in}, type, Tag::ab), w({in, out}, type, Tag::any);
  const dnnl::matmul::primitive_desc desc(
      dnnl::matmul::desc(x, w, memory::desc({rows, out}, type, Tag::ab)), engine);
  memory xm(x, engine), wm(desc.weights_desc(), engine), ym(desc.dst_desc(), engine);
  for (const memory& m : {xm, wm}) {
    std::memset(m.get_data_handle(), 0x3c, m.get_desc().get_size());  // about 0.01 in either type
  }
  const dnnl::matmul product(desc);
  const std::unordered_map<int, memory> arguments{
      {DNNL_ARG_SRC, xm}, {DNNL_ARG_WEIGHTS, wm}, {DNNL_ARG_DST, ym}};
  const double seconds = least_seconds(8, [&] {
    product.execute(stream, arguments);
    stream.wait();
  });
  omp_set_num_threads(before);
  return 2.0 * static_cast<double>(rows * in * out) / seconds / 1e9;
}

constexpr std::array<std::array<std::int64_t, 3>, 3> kProducts{
    {{2048, 2048, 2048}, {4096, 1280, 1280}, {16384, 320, 320}}};  // rows, in, out

double best_gemm(memory::data_type type, int threads) {
  double best = 0;
  for (const auto& [rows, in, out] : kProducts) {
    best = std::max(best, measure_gemm(type, rows, in, out, threads));
  }
  return best;
}

double measure_copy(int threads) {
  constexpr std::size_t kBytes = std::size_t{128} << 20;
  model::Tensor a(model::heap(), model::DType::kU8, {kBytes}),
      b(model::heap(), model::DType::kU8, {kBytes});
  std::memset(a.view().data, 1, kBytes);
  std::memset(b.view().data, 2, kBytes);
  const double seconds = least_seconds(6, [&] {
#pragma omp parallel for num_threads(threads)
    for (std::size_t part = 0; part < 64; ++part) {
      const std::size_t at = part * (kBytes / 64);
      std::memcpy(b.view().as<std::byte>() + at, a.view().as<std::byte>() + at, kBytes / 64);
    }
  });
  return 2.0 * static_cast<double>(kBytes) / seconds / 1e9;
}

model::Tensor small_values(std::int64_t rows, std::int64_t columns) {
  model::Tensor t(model::heap(), model::DType::kF32, {rows, columns});
  auto* data = t.view().as<float>();
  for (std::int64_t i = 0; i < rows * columns; ++i) {
    data[i] = 1e-2F * static_cast<float>(static_cast<std::uint32_t>(i) * 2654435761U % 201) - 1;
  }
  return t;
}

// A backend's own linear layer, in GFLOP/s.
double measure_linear(model::Backend& backend, std::int64_t rows, std::int64_t in,
                      std::int64_t out) {
  using model::Tensor;
  const Tensor values = small_values(rows, in);
  const auto weight = backend.prepare_linear(small_values(out, in), {});
  Tensor x(backend.memory(), backend.activation_type(), {rows, in});
  Tensor y(backend.memory(), backend.activation_type(), {rows, out});
  backend.upload(values, x);
  const double seconds = least_seconds(6, [&] {
    backend.linear(*weight, x, {}, y, backend.memory());
    backend.synchronize();
  });
  return 2.0 * static_cast<double>(rows * in * out) / seconds / 1e9;
}

}  // namespace

Peak measure_peak_of(model::Backend& backend) {
  using model::Tensor;
  Peak peak;
  const bool full = backend.activation_type() == model::DType::kF32;
  (full ? peak.gemm_f32_gflops : peak.gemm_bf16_gflops) = measure_linear(backend, 8192, 8192, 8192);
  constexpr std::int64_t kElements = std::int64_t{1} << 29;
  Tensor from(backend.memory(), backend.activation_type(), {kElements});
  Tensor to(backend.memory(), backend.activation_type(), {kElements});
  const double seconds = least_seconds(6, [&] {
    backend.affine(1, 0, from, to);
    backend.synchronize();
  });
  peak.copy_gbytes = 2.0 * static_cast<double>(from.view().bytes()) / seconds / 1e9;
  return peak;
}

Peak measure_peak(int threads) {
  Peak peak;
  peak.fma_gflops = measure_fma(threads);
  peak.gemm_f32_gflops = best_gemm(memory::data_type::f32, threads);
  // Without AVX-512 the library has only a reference product in bf16; fp32 stands in for it there.
  peak.gemm_bf16_gflops = __builtin_cpu_supports("avx512bw") != 0
                              ? best_gemm(memory::data_type::bf16, threads)
                              : peak.gemm_f32_gflops;
  // Ours can be the faster one; a peak is the best there is.
  const auto ours = model::make_cpu_backend(model::DType::kBF16, threads);
  for (const auto& [rows, in, out] : kProducts) {
    peak.gemm_bf16_gflops = std::max(peak.gemm_bf16_gflops, measure_linear(*ours, rows, in, out));
  }
  peak.copy_gbytes = measure_copy(threads);
  return peak;
}

}  // namespace seamwright::bench
