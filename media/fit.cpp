#include "media/fit.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace seamwright::media {

PictureSize cover_size(int width, int height, int target_width, int target_height) {
  require(width > 0 && height > 0 && target_width > 0 && target_height > 0,
          "a picture of {}x{} cannot be fitted to {}x{}", width, height, target_width,
          target_height);
  const double scale = std::max(static_cast<double>(target_width) / width,
                                static_cast<double>(target_height) / height);
  // A strip many times longer than wide is cut, not scaled to thousands of columns.
  constexpr double kMostSide = kMaxSide;
  const auto side = [&](int from, int target) {
    return static_cast<int>(
        std::min(kMostSide, std::max<double>(target, std::round(from * scale))));
  };
  return {side(width, target_width), side(height, target_height)};
}

RgbImage fit(const RgbView& picture, int width, int height) {
  check_view(picture);
  require(picture.width >= width && picture.height >= height,
          "a picture of {}x{} does not cover {}x{}", picture.width, picture.height, width, height);
  RgbImage out(width, height);
  const auto left = static_cast<std::size_t>((picture.width - width) / 2);
  const auto top = static_cast<std::size_t>((picture.height - height) / 2);
  const auto row = static_cast<std::size_t>(picture.width) * 3;
  for (int y = 0; y < height; ++y) {
    const auto from = picture.pixels.subspan((top + static_cast<std::size_t>(y)) * row + left * 3,
                                             static_cast<std::size_t>(width) * 3);
    std::copy(from.begin(), from.end(), out.at(0, y));
  }
  return out;
}

}  // namespace seamwright::media
