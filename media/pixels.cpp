#include "media/pixels.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace seamwright::media {

void to_rgb8(std::span<const float> model_output, std::span<std::uint8_t> pixels) {
  ensure(model_output.size() == pixels.size(), "{} values cannot become {} bytes",
         model_output.size(), pixels.size());
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    const float unit = model_output[i] / 2.0F + 0.5F;
    const float clamped = unit > 0.0F ? std::min(unit, 1.0F) : 0.0F;  // NaN fails the comparison
    pixels[i] = static_cast<std::uint8_t>(std::nearbyint(clamped * 255.0F));
  }
}

void from_rgb8(std::span<const std::uint8_t> pixels, std::span<float> model_input) {
  ensure(model_input.size() == pixels.size(), "{} bytes cannot become {} values", pixels.size(),
         model_input.size());
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    model_input[i] = static_cast<float>(pixels[i]) / 127.5F - 1.0F;
  }
}

}  // namespace seamwright::media
