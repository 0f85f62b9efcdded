#include "media/mp4_boxes.h"

#include "base/error.h"

namespace seamwright::media {
namespace {

std::uint64_t read_number(std::string_view bytes, std::size_t at, std::size_t size) {
  if (at > bytes.size() || bytes.size() - at < size) {
    fail(ErrorCode::kCorrupt, "an mp4 ends in the middle of a box");
  }
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i) {
    value = value << 8U | static_cast<unsigned char>(bytes[at + i]);
  }
  return value;
}

void write_number(std::string& bytes, std::size_t at, std::size_t size, std::uint64_t value) {
  for (std::size_t i = size; i-- > 0; value >>= 8U) {
    bytes[at + i] = static_cast<char>(value & 0xFFU);
  }
}

const Mp4Box& only(const std::vector<Mp4Box>& boxes, std::string_view type) {
  for (const auto& box : boxes) {
    if (box.type == type) return box;
  }
  fail(ErrorCode::kCorrupt, "a fragment of an mp4 has no {}", type);
}

}  // namespace

std::vector<Mp4Box> mp4_boxes(std::string_view bytes, std::size_t begin, std::size_t end) {
  std::vector<Mp4Box> boxes;
  while (begin < end) {
    std::uint64_t size = read_number(bytes, begin, 4);
    std::size_t header = 8;
    if (size == 1) {
      size = read_number(bytes, begin + 8, 8);
      header = 16;
    }
    if (size == 0) size = end - begin;
    if (size < header || size > end - begin) {
      fail(ErrorCode::kCorrupt, "a box of an mp4 has {} bytes, but {} are left", size, end - begin);
    }
    boxes.push_back({bytes.substr(begin + 4, 4), begin, begin + header,
                     begin + static_cast<std::size_t>(size)});
    begin += static_cast<std::size_t>(size);
  }
  return boxes;
}

void move_fragments(std::string& bytes, std::int64_t ticks, std::uint32_t first_sequence) {
  const std::string_view view = bytes;
  std::uint32_t sequence = first_sequence;
  for (const auto& box : mp4_boxes(view)) {
    if (box.type != "moof") continue;
    const auto inside = mp4_boxes(view, box.content, box.end);
    // A version and flags come before the numbers of both.
    write_number(bytes, only(inside, "mfhd").content + 4, 4, sequence++);
    const auto& traf = only(inside, "traf");
    const auto tfdt = only(mp4_boxes(view, traf.content, traf.end), "tfdt");
    const std::size_t width = read_number(view, tfdt.content, 1) == 1 ? 8 : 4;
    const auto time =
        read_number(view, tfdt.content + 4, width) + static_cast<std::uint64_t>(ticks);
    if (width == 4 && time >> 32U != 0) {
      fail(ErrorCode::kUnsupported, "this video is too long for this ffmpeg's 32-bit times");
    }
    write_number(bytes, tfdt.content + 4, width, time);
  }
  if (sequence == first_sequence) fail(ErrorCode::kCorrupt, "an mp4 segment has no fragment");
}

}  // namespace seamwright::media
