// A job request: everything that decides what one video looks like, plus how it should be run.
// Plain data with defaults; the JSON form uses the same names (design: one meaning each).
// Threads: values only.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/given_frames.h"

namespace seamwright {

// One LoRA file and how strongly it is added to the weights; written "FILE:SCALE".
struct LoraRequest {
  std::string file;
  double scale = 1;
  bool operator==(const LoraRequest&) const = default;
};

struct JobRequest {
  // What to make.
  std::string model;  // folder, .safetensors file, hub-cache id or name under models/; "" = demo
  std::string motion_adapter;     // folder or file; "" = the model folder's own
  std::string vae;                // folder or file; "" = the model's own
  std::string tokenizer;          // folder; "" = the model's own
  std::vector<LoraRequest> lora;  // merged into the weights in this order
  std::string prompt;             // may be keyframed: "0: a hill at dawn / 48: a hill at night"
  std::string negative_prompt;
  std::int64_t frames = 64;
  double fps = 8;
  int width = 0, height = 0;  // 0 = the model's own size
  int steps = 0;              // 0 = the model's own default
  std::string sampler;        // "" = the model folder's scheduler
  double guidance = -1;       // < 0 = the model's own default; <= 1 runs one branch only
  std::uint64_t seed = 0;

  // What to start from. Known frames keep their latents; `input_video` with a strength below 1 is
  // only where denoising starts from.
  std::string init_image;                  // the picture of frame 0
  std::vector<KeyframeRequest> keyframes;  // pictures of single frames
  std::string input_video;
  // Which of its frames: brought to a steady rate first (0: every stored frame), then without the
  // first ones, then every so many-th.
  double input_fps = 0;
  int input_skip = 0;
  int input_step = 1;
  std::string missing;  // frames of input_video to fill: "40-55,80"; the others are known
  int input_every = 1;  // a frame of input_video at every so many frames, the rest is filled
  double strength = 1;  // video to video: the part of the denoising that is done
  std::string extend;   // a video whose last frames are this one's first

  // How windows share it.
  int window = 0;    // 0 = 16, or what the model suggests for known frames
  int overlap = -1;  // < 0 = the default of the coherence mode
  std::string window_schedule = "static";
  int context_stride = 1;
  std::string fuse = "overlap-linear";
  std::string coherence = "local";
  int lag = 1;
  int resample = 0;  // 0 = 1 in local mode where the model reads known frames as they are, else 2
  std::string noise = "independent";
  std::string motion_norm = "across-frames";

  // How it is run; none of these changes the latents.
  std::string order = "auto";  // throughput, streaming, or streaming where it is possible
  std::string device = "auto";
  std::string precision = "fp32";

  bool operator==(const JobRequest&) const = default;
};

// The values each choice allows, for messages, --help and the API document.
struct Choice {
  std::string_view field;
  std::vector<std::string_view> allowed;
};
const std::vector<Choice>& job_request_choices();

// Checks everything that needs no model; throws kInvalidArgument that names the field, the value,
// and what is allowed.
void validate(const JobRequest& request);

nlohmann::json to_json(const JobRequest& request);
// Rejects unknown keys and wrong types, naming them; missing keys keep the defaults. Also takes
// context_length and context_overlap for window and overlap, and size as "WxH".
JobRequest job_request_from_json(const nlohmann::json& document);

// "FILE:0.8", or "FILE" for a scale of 1. What follows the last colon is a scale only when it is a
// number.
LoraRequest parse_lora(std::string_view text);

// Whether any frame is known, and whether input_video is only where denoising starts from.
bool has_known_frames(const JobRequest& request);
bool is_video_to_video(const JobRequest& request);

// The names of all files a request starts from, in place, so that they can be replaced.
std::vector<std::string*> given_files(JobRequest& request);

// The most frames a video may have.
inline constexpr std::int64_t kMaxFrames = 10'000'000;

// "512x384" -> width, height.
void parse_size(std::string_view text, int& width, int& height);

}  // namespace seamwright
