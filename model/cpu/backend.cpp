#include "model/cpu/backend.h"

#include "model/cpu/cpu_backend.h"
#include "model/cpu/parallel.h"

namespace seamwright::model {

std::unique_ptr<Backend> make_cpu_backend(DType activation, int threads) {
  return std::make_unique<cpu::CpuBackend>(activation, threads, cpu::detect_isa());
}

namespace cpu {
namespace {

const Kernels& kernels_for(Isa isa) {
  if (isa == Isa::kNone) {
    fail(ErrorCode::kUnsupported,
         "the CPU backend needs a processor with AVX2 and FMA; use the reference backend instead");
  }
  return isa == Isa::kAvx2 ? avx2_kernels() : avx512_kernels();
}

}  // namespace

std::byte* Workspace::at_least(std::size_t bytes) {
  if (memory_.view().bytes() < bytes || !memory_) {
    memory_ = Tensor();  // the old block goes first: both need not fit
    memory_ = Tensor(heap(), DType::kU8, {static_cast<std::int64_t>(bytes)});
  }
  return memory_.view().as<std::byte>();
}

CpuBackend::CpuBackend(DType activation, int threads, Isa isa)
    : activation_(activation),
      compute_(isa == Isa::kAvx2 ? DType::kF32 : activation),
      threads_(threads),
      isa_(isa),
      kernels_(kernels_for(isa)) {
  require(activation == DType::kF32 || activation == DType::kBF16,
          "the CPU backend computes in F32 or BF16, not {}", to_string(activation));
  set_threads(threads);
}

void CpuBackend::set_threads(int threads) {
  require(threads >= 1, "threads must be at least 1, not {}", threads);
  threads_ = threads;
}

std::string CpuBackend::fingerprint() const {
  return fmt::format("cpu;{};isa={};onednn={};products={}{}{}", to_string(activation_),
                     cpu::to_string(isa_), onednn_.version(), to_string(compute_),
                     on_tiles(32, 32) ? ";tiles=2"
                     : on_panels()    ? ";panels=1"
                                      : "",
                     wide_residuals() ? ";residuals=wide" : "");
}

std::size_t CpuBackend::plan_work(const Plan& plan, std::int64_t x_elements,
                                  std::int64_t y_elements, Casts casts) const {
  std::size_t bytes = (plan.scratch_bytes + 63) / 64 * 64;
  if (casts.widen) bytes += static_cast<std::size_t>(x_elements + 16) * sizeof(float);
  if (casts.narrow) bytes += static_cast<std::size_t>(2 * y_elements + 32) * sizeof(float);
  return (bytes + 63) / 64 * 64;
}

void CpuBackend::run_plan(const Plan& plan, Operands operands, std::int64_t x_elements,
                          std::int64_t y_elements, std::byte* work, Casts casts) const {
  auto* x = reinterpret_cast<float*>(work + (plan.scratch_bytes + 63) / 64 * 64);
  float* y = x;
  if (casts.widen) {
    kernels_.bf16.widen(static_cast<const Bf16*>(operands.x), x, x_elements);
    operands.x = x;
    y += (x_elements + 15) / 16 * 16;
  }
  if (!casts.narrow) return onednn_.run(plan, operands, work);
  if (operands.residual != nullptr) {
    float* residual = y + (y_elements + 15) / 16 * 16;
    kernels_.bf16.widen(static_cast<const Bf16*>(operands.residual), residual, y_elements);
    operands.residual = residual;
  }
  auto* result = static_cast<Bf16*>(operands.y);
  operands.y = y;
  onednn_.run(plan, operands, work);
  kernels_.bf16.narrow(y, result, y_elements);
}

}  // namespace cpu
}  // namespace seamwright::model
