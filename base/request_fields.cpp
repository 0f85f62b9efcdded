#include "base/request_fields.h"

#include <algorithm>

namespace seamwright {

const std::vector<RequestField>& job_request_fields() {
  using enum FieldKind;
  // The largest whole number that survives every JSON reader.
  constexpr double kMaxSeed = 9007199254740991.0;
  static const std::vector<RequestField> fields = {
      {"prompt", kText, 1, 32000, "what to show; may travel: \"0: a hill at dawn / 48: at night\""},
      {"negative_prompt", kText, 0, 32000, "what to avoid (with guidance)"},
      {"model", kText, 0, 256, "a model of GET /v1/models; empty = the demo model"},
      {"motion_adapter", kText, 0, 4096, "motion module file or motion adapter folder", true},
      {"vae", kText, 0, 4096, "file or folder of another VAE", true},
      {"tokenizer", kText, 0, 4096, "folder with vocab.json and merges.txt", true},
      {"lora", kList, 0, 64, "LoRA files with scales, merged into the weights", true},
      {"init_image", kFile, 0, 4096, "picture that is frame 0", false, true},
      {"keyframes", kFiles, 0, 10'000'000, "pictures of single frames", false, true},
      {"input_video", kFile, 0, 4096,
       "video to start from; with one of strength, missing and input_every", false, true},
      {"input_fps", kNumber, 0, 240, "rate the input video is brought to first; 0 = as it is",
       false, true},
      {"input_skip", kInteger, 0, 10'000'000, "frames of the input video left out at its beginning",
       false, true},
      {"input_step", kInteger, 1, 1000, "every so many-th frame of the input video is taken", false,
       true},
      {"missing", kText, 0, 32000, "frames of the input video to fill, as 40-55,80", false, true},
      {"input_every", kInteger, 1, 64, "input frames lie this far apart", false, true},
      {"strength", kNumber, 0, 1, "video to video: how much of the denoising is done, above 0",
       false, true},
      {"extend", kFile, 0, 4096, "video whose last frames are the first of this one", false, true},
      {"frames", kInteger, 1, 10'000'000, "length in frames"},
      {"fps", kNumber, 0.1, 240, "frames per second of the file"},
      {"width", kInteger, 16, 8192, "picture width; the model's own when not given"},
      {"height", kInteger, 16, 8192, "picture height; the model's own when not given"},
      {"steps", kInteger, 0, 1000, "denoising steps; 0 = the model's own"},
      {"sampler", kText, 0, 64, "sampler; empty = the model's own"},
      {"guidance", kNumber, -1, 100,
       "guidance scale; 1 or less = none, negative = the model's own"},
      {"seed", kInteger, 0, kMaxSeed, "the same seed gives the same video"},
      {"window", kInteger, 0, 1024,
       "frames denoised together; 0 = 16, or what the model suggests for known frames"},
      {"overlap", kInteger, -1, 1023, "frames neighbouring windows share; -1 = default"},
      {"window_schedule", kText, 0, 64, "where windows lie at each step"},
      {"context_stride", kInteger, 1, 16, "dilation levels of uniform and looped"},
      {"fuse", kText, 0, 64, "weights of overlapping predictions"},
      {"coherence", kText, 0, 64, "local: all windows at once; causal: each follows the last"},
      {"lag", kInteger, 1, 1000, "causal: levels between a window and its predecessor"},
      {"resample", kInteger, 0, 16,
       "rounds per step, in local mode with known frames only; 0 = default"},
      {"noise", kText, 0, 64, "independent, or freenoise: the first window's, shuffled"},
      {"motion_norm", kText, 0, 64, "extent of the motion modules' group norm"},
      {"order", kText, 0, 64, "streaming: early frames first; throughput: step by step"},
      {"device", kText, 0, 64, "where to compute"},
      {"precision", kText, 0, 64, "type of activations and weights"},
  };
  return fields;
}

const RequestField* find_request_field(std::string_view name) {
  const auto& fields = job_request_fields();
  const auto found =
      std::find_if(fields.begin(), fields.end(), [&](const auto& f) { return f.name == name; });
  return found == fields.end() ? nullptr : &*found;
}

}  // namespace seamwright
