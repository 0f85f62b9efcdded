#include "model/nets/sinusoid.h"

#include <cmath>

namespace seamwright::model {
namespace {

// Angles are rounded to single precision as the models were trained with, but each function value
// is rounded once from double, so the bits do not depend on a C library's float functions.
float frequency(float exponent) {
  return static_cast<float>(std::exp(static_cast<double>(exponent)));
}
float sine(float angle) { return static_cast<float>(std::sin(static_cast<double>(angle))); }
float cosine(float angle) { return static_cast<float>(std::cos(static_cast<double>(angle))); }

const float kMinusLogPeriod = static_cast<float>(-std::log(10000.0));

}  // namespace

Tensor timestep_features(float timestep, std::int64_t channels) {
  ensure(channels > 0 && channels % 2 == 0, "timestep features need an even width, not {}",
         channels);
  Tensor features(heap(), DType::kF32, {1, channels});
  auto* out = features.view().as<float>();
  const std::int64_t half = channels / 2;
  for (std::int64_t k = 0; k < half; ++k) {
    const float exponent = kMinusLogPeriod * static_cast<float>(k) / static_cast<float>(half);
    const float angle = timestep * frequency(exponent);
    out[k] = cosine(angle);
    out[half + k] = sine(angle);
  }
  return features;
}

Tensor motion_position_table(std::int64_t frames, std::int64_t channels) {
  ensure(channels > 0 && channels % 2 == 0, "motion positions need an even width, not {}",
         channels);
  Tensor table(heap(), DType::kF32, {frames, channels});
  auto* out = table.view().as<float>();
  for (std::int64_t p = 0; p < frames; ++p) {
    for (std::int64_t k = 0; 2 * k < channels; ++k) {
      const float step = static_cast<float>(-std::log(10000.0) / static_cast<double>(channels));
      const float angle = static_cast<float>(p) * frequency(static_cast<float>(2 * k) * step);
      out[p * channels + 2 * k] = sine(angle);
      out[p * channels + 2 * k + 1] = cosine(angle);
    }
  }
  return table;
}

}  // namespace seamwright::model
