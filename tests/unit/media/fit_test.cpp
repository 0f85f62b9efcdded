#include "media/fit.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace seamwright::media {
namespace {

TEST(Fit, CoversTheTargetWithThePicturesProportions) {
  struct Case {
    int width, height, target_width, target_height, expected_width, expected_height;
  };
  for (const Case& c : {Case{64, 64, 64, 64, 64, 64}, Case{1920, 1080, 512, 512, 910, 512},
                        Case{1080, 1920, 512, 512, 512, 910}, Case{100, 50, 64, 64, 128, 64},
                        Case{33, 77, 64, 48, 64, 149}, Case{1, 16384, 8, 8, 8, kMaxSide}}) {
    const auto size = cover_size(c.width, c.height, c.target_width, c.target_height);
    EXPECT_EQ(size.width, c.expected_width) << c.width;
    EXPECT_EQ(size.height, c.expected_height) << c.width;
  }
}

TEST(Fit, CutsTheMiddle) {
  RgbImage wide(6, 3);
  for (int y = 0; y < 3; ++y) {
    for (int x = 0; x < 6; ++x) wide.at(x, y)[0] = static_cast<std::uint8_t>(10 * y + x);
  }
  const auto cut = fit(wide.view(), 2, 1);
  EXPECT_EQ(cut.at(0, 0)[0], 12);
  EXPECT_EQ(cut.at(1, 0)[0], 13);
  EXPECT_EQ(fit(wide.view(), 6, 3).pixels, wide.pixels);
  EXPECT_THROW(fit(wide.view(), 7, 3), Error);
}

}  // namespace
}  // namespace seamwright::media
