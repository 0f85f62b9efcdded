// How a request names frames that are given: "40-55,80-90", "N=FILE".
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace seamwright {

struct FrameRange {
  std::int64_t first = 0, last = 0;  // both included
  bool operator==(const FrameRange&) const = default;
};

// A picture that one frame is to be.
struct KeyframeRequest {
  std::int64_t frame = 0;
  std::string file;
  bool operator==(const KeyframeRequest&) const = default;
};

// "40-55,80" in ascending order without overlaps. Throws kInvalidArgument.
std::vector<FrameRange> parse_frame_ranges(std::string_view text);
// "16=FILE".
KeyframeRequest parse_keyframe(std::string_view text);

}  // namespace seamwright
