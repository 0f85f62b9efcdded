// Keyframed prompts: "0: a hill at dawn / 48: a hill at night" lets the prompt travel along the
// video; between two keyframes the embeddings are interpolated linearly.
// Threads: values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace seamwright {

struct PromptKeyframe {
  std::int64_t frame = 0;
  std::string prompt;
};

// What a frame's prompt is: keyframe `from` with 1 - weight and `to` with weight, in [0, 1).
// Where only one counts, from == to and the weight is 0.
struct PromptBlend {
  std::size_t from = 0;
  std::size_t to = 0;
  float weight = 0;
};

class PromptSchedule {
 public:
  // At least one keyframe, frames ascending.
  explicit PromptSchedule(std::vector<PromptKeyframe> keyframes);

  const std::vector<PromptKeyframe>& keyframes() const { return keyframes_; }
  // Before the first keyframe the first prompt holds, after the last one the last.
  PromptBlend at(std::int64_t frame) const;

 private:
  std::vector<PromptKeyframe> keyframes_;
};

// A text is keyframed when it begins with a frame number, a colon and white space; any other text
// is one prompt for all frames. Keyframes are separated by a slash. Throws kInvalidArgument for
// frames that do not ascend or lie beyond the video's `frames`, empty prompts, and a free-standing
// slash that no keyframe follows.
PromptSchedule parse_prompt_schedule(std::string_view text, std::int64_t frames);

}  // namespace seamwright
