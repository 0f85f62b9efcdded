// The few boxes of a fragmented mp4 that have to be found or changed. Private to media.
// Threads: pure functions; safe anywhere.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace seamwright::media {

struct Mp4Box {
  std::string_view type;  // four characters
  std::size_t begin = 0;  // of the header, in the text that was parsed
  std::size_t content = 0;
  std::size_t end = 0;
};

// The boxes of bytes[begin, end), one after another. Throws kCorrupt where they do not fit.
std::vector<Mp4Box> mp4_boxes(std::string_view bytes, std::size_t begin, std::size_t end);
inline std::vector<Mp4Box> mp4_boxes(std::string_view bytes) {
  return mp4_boxes(bytes, 0, bytes.size());
}

// Moves every fragment by `ticks` and numbers them from `first_sequence`. Throws kCorrupt when a
// fragment has no time or the file no fragment.
void move_fragments(std::string& bytes, std::int64_t ticks, std::uint32_t first_sequence);

}  // namespace seamwright::media
