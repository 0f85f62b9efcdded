// One picture of many frames: a grid of evenly spaced frames with their numbers, gathered while a
// video streams by, and strips of consecutive frames.
// Threads: one object per thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "media/image.h"

namespace seamwright::media {

struct ContactSheetOptions {
  int columns = 6;
  int rows = 4;
  int cell_width = 192;  // cells keep the video's aspect ratio
};

class ContactSheet {
 public:
  // total_frames = 0: not known yet (endless job); the sheet then thins itself out as it fills.
  explicit ContactSheet(std::int64_t total_frames, const ContactSheetOptions& options = {});

  // Offers frame `index`; indices ascend. Keeps a thumbnail if the sheet will show it.
  void offer(std::int64_t index, const RgbView& frame);

  // The sheet of what was offered; throws kInvalidArgument if that is nothing.
  RgbImage draw() const;

 private:
  struct Cell {
    std::int64_t index = 0;
    RgbImage thumbnail;
  };
  bool wanted(std::int64_t index) const;

  std::int64_t total_;
  ContactSheetOptions options_;
  std::int64_t stride_ = 1;  // while the total is unknown
  std::vector<Cell> cells_;
};

// Frames side by side, numbered from first_index.
RgbImage make_strip(std::span<const RgbImage> frames, std::int64_t first_index, int cell_width);

// Digits 0-9 and '-', '.' and ':' in white on black; other characters are blank. `scale` pixels a
// dot.
void draw_label(RgbImage& image, int x, int y, std::string_view text, int scale);

}  // namespace seamwright::media
