#include "tests/unit/model/backend_contract.h"

#include <cmath>
#include <cstring>

#include "base/rng.h"
#include "model/convert.h"
#include "model/reference/reference.h"

namespace seamwright::model::testing_support {
namespace {

constexpr std::size_t kGuardBytes = 64;
constexpr unsigned char kGuard = 0xA5;

std::unique_ptr<Backend> with_threads(const ContractParam& param, int threads) {
  auto backend = param.make();
  backend->set_threads(threads);
  return backend;
}

}  // namespace

void* GuardedAllocator::allocate(std::size_t bytes) {
  auto* data = static_cast<unsigned char*>(heap().allocate(bytes + kGuardBytes));
  std::memset(data, 0xFF, bytes);
  std::memset(data + bytes, kGuard, kGuardBytes);
  return data;
}

void GuardedAllocator::release(void* data, std::size_t bytes) noexcept {
  const auto* guard = static_cast<unsigned char*>(data) + bytes;
  for (std::size_t i = 0; i < kGuardBytes; ++i) intact_ = intact_ && guard[i] == kGuard;
  heap().release(data, bytes + kGuardBytes);
}

Tensor Rig::host(const Shape& shape, double scale, double offset) {
  Tensor values(heap(), DType::kF32, shape);
  auto* data = values.view().as<float>();
  const auto n = static_cast<std::size_t>(shape.elements());
  fill_normal({.seed = 7, .purpose = NoisePurpose::kTest, .frame = drawn_++}, {data, n});
  for (std::size_t i = 0; i < n; ++i) data[i] = static_cast<float>(data[i] * scale + offset);
  if (rounding_ != DType::kF32 && rounding_ != DType::kF64) {
    return converted(converted(values, rounding_), DType::kF32);
  }
  return values;
}

Tensor Rig::activation(const Shape& shape, double scale, double offset) {
  return ops::upload(exec, host(shape, scale, offset));
}

std::unique_ptr<PreparedConv> Rig::conv(const ConvSpec& spec, bool bias) {
  const double fan_in = static_cast<double>(spec.in * spec.kernel * spec.kernel);
  const Tensor w = host({spec.out, spec.in, spec.kernel, spec.kernel}, 1 / std::sqrt(fan_in), 0);
  const Tensor b = host({spec.out}, 0.5, 0);
  return exec.backend.prepare_conv(spec, w, bias ? b.view() : ConstView{});
}

std::unique_ptr<PreparedLinear> Rig::linear(std::int64_t in, std::int64_t out, bool bias) {
  const Tensor w = host({out, in}, 1 / std::sqrt(static_cast<double>(in)), 0);
  const Tensor b = host({out}, 0.5, 0);
  return exec.backend.prepare_linear(w, bias ? b.view() : ConstView{});
}

std::unique_ptr<PreparedLinear> Rig::geglu(std::int64_t in, std::int64_t inner) {
  const Tensor w = host({2 * inner, in}, 1 / std::sqrt(static_cast<double>(in)), 0);
  return exec.backend.prepare_geglu(w, host({2 * inner}, 0.5, 0));
}

std::unique_ptr<PreparedNorm> Rig::norm(std::int64_t channels, double eps) {
  const Tensor scale = host({channels}, 0.3, 1);
  return exec.backend.prepare_norm(scale, host({channels}, 0.3, 0), eps);
}

std::vector<double> values_of(Backend& backend, ConstView device) {
  Tensor host(heap(), DType::kF64, device.shape);
  backend.download(device, host);
  backend.synchronize();
  const auto* data = host.view().as<double>();
  return {data, data + host.shape().elements()};
}

void BackendContract::check(const std::string& what, const Case& run, double tolerance_factor) {
  SCOPED_TRACE(what);
  const auto reference = make_reference_backend();
  const DType rounding = with_threads(GetParam(), 1)->activation_type();
  Rig reference_rig(*reference, heap(), rounding);
  const Tensor expected_tensor = run(reference_rig);
  const auto expected = values_of(*reference, expected_tensor);

  std::vector<double> first;
  for (int threads : {1, 3}) {
    const auto backend = with_threads(GetParam(), threads);
    GuardedAllocator guarded;
    {
      Rig rig(*backend,
              GetParam().host_memory ? static_cast<Allocator&>(guarded) : backend->memory(),
              rounding);
      const Tensor got_tensor = run(rig);
      ASSERT_EQ(got_tensor.shape(), expected_tensor.shape());
      const auto got = values_of(*backend, got_tensor);
      if (threads == 1) {
        first = got;
        continue;
      }
      ASSERT_EQ(std::memcmp(first.data(), got.data(), got.size() * sizeof(double)), 0)
          << "the result depends on the number of threads";
    }
    EXPECT_TRUE(guarded.intact()) << "wrote past the end of an allocation";
  }

  double error = 0, norm = 0, worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double d = std::abs(first[i] - expected[i]);
    ASSERT_FALSE(std::isnan(d)) << "element " << i << " is NaN";
    error += d * d;
    norm += expected[i] * expected[i];
    worst = std::max(worst, d);
  }
  const double rms = std::sqrt(norm / static_cast<double>(expected.size()));
  const double tolerance = GetParam().tolerance * tolerance_factor;
  EXPECT_LE(std::sqrt(error), tolerance * std::sqrt(norm));
  EXPECT_LE(worst, 10 * tolerance * rms);
}

}  // namespace seamwright::model::testing_support
