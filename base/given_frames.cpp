#include "base/given_frames.h"

#include <charconv>

#include "base/error.h"

namespace seamwright {
namespace {

bool to_number(std::string_view text, std::int64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return !text.empty() && error == std::errc() && end == text.data() + text.size() && out >= 0;
}

}  // namespace

std::vector<FrameRange> parse_frame_ranges(std::string_view text) {
  std::vector<FrameRange> ranges;
  std::string_view rest = text;
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    const auto item = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    const auto dash = item.find('-');
    FrameRange range;
    const bool good = dash == std::string_view::npos
                          ? to_number(item, range.first) && to_number(item, range.last)
                          : to_number(item.substr(0, dash), range.first) &&
                                to_number(item.substr(dash + 1), range.last);
    require(good && range.first <= range.last,
            "missing frames are given like 40-55,80, counted from 0, not '{}'", item);
    require(ranges.empty() || range.first > ranges.back().last,
            "missing frames must be in ascending order: {} comes after {}", range.first,
            ranges.empty() ? 0 : ranges.back().last);
    ranges.push_back(range);
  }
  return ranges;
}

KeyframeRequest parse_keyframe(std::string_view text) {
  const auto equals = text.find('=');
  KeyframeRequest keyframe;
  require(equals != std::string_view::npos && to_number(text.substr(0, equals), keyframe.frame) &&
              equals + 1 < text.size(),
          "a keyframe is given as N=FILE with the frame's number from 0, not '{}'", text);
  keyframe.file = text.substr(equals + 1);
  return keyframe;
}

}  // namespace seamwright
