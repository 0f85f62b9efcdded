#include "base/prompt_schedule.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/quoted.h"

namespace seamwright {
namespace {

constexpr std::size_t kMaxKeyframes = 4096;

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// "48: " at the start of the text (after blanks): the number's digits, and the bytes it all takes.
struct Mark {
  std::string_view digits;
  std::size_t length;
};

std::optional<Mark> mark_at(std::string_view text) {
  std::size_t begin = 0;
  while (begin < text.size() && is_blank(text[begin])) ++begin;
  std::size_t end = begin;
  while (end < text.size() && is_digit(text[end])) ++end;
  const bool marked = end > begin && end + 1 < text.size() && text[end] == ':' &&
                      is_blank(text[end + 1]);  // "16:9" is no keyframe
  if (!marked) return std::nullopt;
  return Mark{text.substr(begin, end - begin), end + 2};
}

std::int64_t frame_number(std::string_view digits, std::int64_t frames) {
  std::int64_t value = 0;
  for (const char digit : digits) {
    value = value * 10 + (digit - '0');
    require(value < frames,
            "the prompt has a keyframe at {}, but the video has frames 0 to {}: move the keyframe "
            "or make the video longer",
            in_quotes(digits), frames - 1);
  }
  return value;
}

// Bytes up to the next slash that begins a keyframe, or all.
std::size_t prompt_length(std::string_view text) {
  for (std::size_t i = text.find('/'); i != std::string_view::npos; i = text.find('/', i + 1)) {
    if (mark_at(text.substr(i + 1))) return i;
    const bool stands_free =
        i > 0 && is_blank(text[i - 1]) && (i + 1 == text.size() || is_blank(text[i + 1]));
    require(!stands_free,
            "in a keyframed prompt a slash begins a keyframe, but {} follows one: write \"/ 48: "
            "...\", or the slash without spaces where it belongs to the text",
            in_quotes(trimmed(text.substr(i + 1))));
  }
  return text.size();
}

}  // namespace

PromptSchedule::PromptSchedule(std::vector<PromptKeyframe> keyframes)
    : keyframes_(std::move(keyframes)) {
  ensure(!keyframes_.empty(), "a prompt schedule needs a keyframe");
  for (std::size_t i = 1; i < keyframes_.size(); ++i) {
    require(keyframes_[i - 1].frame < keyframes_[i].frame,
            "the prompt's keyframes must ascend, but {} follows {}", keyframes_[i].frame,
            keyframes_[i - 1].frame);
  }
}

PromptBlend PromptSchedule::at(std::int64_t frame) const {
  const auto after = std::upper_bound(
      keyframes_.begin(), keyframes_.end(), frame,
      [](std::int64_t wanted, const PromptKeyframe& key) { return wanted < key.frame; });
  if (after == keyframes_.begin()) return {0, 0, 0};
  const auto to = static_cast<std::size_t>(after - keyframes_.begin());
  const std::size_t from = to - 1;
  if (after == keyframes_.end() || keyframes_[from].frame == frame) return {from, from, 0};
  const auto span = static_cast<double>(keyframes_[to].frame - keyframes_[from].frame);
  const auto passed = static_cast<double>(frame - keyframes_[from].frame);
  return {from, to, static_cast<float>(passed / span)};
}

PromptSchedule parse_prompt_schedule(std::string_view text, std::int64_t frames) {
  require(frames >= 1, "frames is {}, but must be at least 1", frames);
  auto mark = mark_at(text);
  if (!mark) return PromptSchedule({{0, std::string(text)}});
  std::vector<PromptKeyframe> keyframes;
  while (mark) {
    const std::int64_t frame = frame_number(mark->digits, frames);
    text.remove_prefix(mark->length);
    const std::size_t length = prompt_length(text);
    const std::string_view prompt = trimmed(text.substr(0, length));
    require(!prompt.empty(), "the prompt's keyframe at {} has no text", frame);
    keyframes.push_back({frame, std::string(prompt)});
    require(keyframes.size() <= kMaxKeyframes, "the prompt has more than {} keyframes",
            kMaxKeyframes);
    text.remove_prefix(std::min(text.size(), length + 1));  // the slash too
    mark = mark_at(text);
  }
  return PromptSchedule(std::move(keyframes));
}

}  // namespace seamwright
