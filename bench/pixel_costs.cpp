#include "bench/pixel_costs.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include "base/sha256.h"
#include "worker/seam_metrics.h"

namespace seamwright::bench {
namespace {

using model::DType;

double least_of(const std::function<void()>& body) {
  using Clock = std::chrono::steady_clock;
  double least = 1e30;
  for (int i = 0; i < 5; ++i) {
    const auto begin = Clock::now();
    body();
    least = std::min(least, std::chrono::duration<double>(Clock::now() - begin).count());
  }
  return least;
}

}  // namespace

PixelCosts measure_pixels(model::Backend& backend, model::ConstView decoded,
                          std::size_t latent_values) {
  const auto frames = decoded.shape[0];
  model::Tensor bytes(backend.memory(), DType::kU8, decoded.shape);
  const auto convert = [&] { backend.pixels_to_rgb8(decoded, bytes); };
  PixelCosts costs;
  const auto alone = backend.seconds_alone(convert);
  costs.to_bytes = alone ? *alone : least_of(convert);
  backend.synchronize();
  std::vector<std::byte> host(bytes.view().bytes());
  costs.read_back = least_of([&] {
    const auto arriving = backend.read_back(bytes, host);
    if (arriving) arriving->wait();
  });
  model::Tensor floats(model::heap(), DType::kF32, decoded.shape);
  costs.float_read = least_of([&] { backend.download(decoded, floats); });
  const std::vector<float> latent(latent_values, 0.5F);
  costs.latent_hash = least_of([&] { sha256(std::as_bytes(std::span(latent))); });
  for (double* part : {&costs.to_bytes, &costs.read_back, &costs.float_read}) {
    *part /= static_cast<double>(frames);
  }
  const auto size = host.size() / static_cast<std::size_t>(frames);
  const std::span<const std::uint8_t> frame(reinterpret_cast<const std::uint8_t*>(host.data()),
                                            size);
  worker::SeamMetrics seams(100, {}, {});
  for (int i = 0; i < 2; ++i) seams.add(frame);
  costs.seams = least_of([&] { seams.add(frame); });
  return costs;
}

}  // namespace seamwright::bench
