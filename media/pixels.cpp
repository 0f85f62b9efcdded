#include "media/pixels.h"

#include "base/error.h"

namespace seamwright::media {

void from_rgb8(std::span<const std::uint8_t> pixels, std::span<float> model_input) {
  ensure(model_input.size() == pixels.size(), "{} bytes cannot become {} values", pixels.size(),
         model_input.size());
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    model_input[i] = static_cast<float>(pixels[i]) / 127.5F - 1.0F;
  }
}

}  // namespace seamwright::media
