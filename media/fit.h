// Pictures of any size brought to the size of a video: scaled to cover it, the middle cut out.
// Threads: pure functions; safe anywhere.
#pragma once

#include "media/image.h"

namespace seamwright::media {

struct PictureSize {
  int width = 0, height = 0;
};

// The smallest size with the proportions of width x height that covers target_width x
// target_height.
PictureSize cover_size(int width, int height, int target_width, int target_height);

// The middle of a picture that covers the size, or throws kInvalidArgument where it does not.
RgbImage fit(const RgbView& picture, int width, int height);

}  // namespace seamwright::media
