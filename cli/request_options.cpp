#include "cli/request_options.h"

#include <CLI/Option.hpp>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "base/error.h"
#include "media/metadata.h"

namespace seamwright::cli {
namespace {

constexpr std::uintmax_t kMaxConfigBytes = 1 << 20;

std::optional<std::string> value_of(const std::vector<std::string>& arguments,
                                    const std::string& flag) {
  std::optional<std::string> value;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == flag && i + 1 < arguments.size()) value = arguments[i + 1];
    if (arguments[i].starts_with(flag + "=")) value = arguments[i].substr(flag.size() + 1);
  }
  return value;
}

nlohmann::json read_config(const std::string& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error) fail(ErrorCode::kNotFound, "config file {} cannot be read: {}", path, error.message());
  require(size <= kMaxConfigBytes, "config file {} has {} bytes, but at most {} are allowed", path,
          size, kMaxConfigBytes);
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  auto document = nlohmann::json::parse(text.str(), nullptr, /*allow_exceptions=*/false,
                                        /*ignore_comments=*/true);
  require(!document.is_discarded(), "config file {} is not valid JSON", path);
  return document;
}

std::string choices_text(std::string_view field) {
  for (const auto& choice : job_request_choices()) {
    if (choice.field != field) continue;
    std::string text;
    for (const auto& value : choice.allowed) {
      if (!value.empty()) text += (text.empty() ? "" : "|") + std::string(value);
    }
    return text;
  }
  return {};
}

// Adds `--some-field`, readable also from $SEAMWRIGHT_SOME_FIELD and as `some_field` in a config.
template <class T>
CLI::Option* add(CLI::App& app, const std::string& field, T& target, std::string help,
                 const std::string& alias = "") {
  std::string flag = "--" + field, env = "SEAMWRIGHT_" + field;
  for (char& c : flag) c = c == '_' ? '-' : c;
  for (char& c : env) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (const auto choices = choices_text(field); !choices.empty()) help += " (" + choices + ")";
  help += " [config: " + field + "]";
  if (!alias.empty()) flag += "," + alias;
  return app.add_option(flag, target, help)->envname(env)->capture_default_str();
}

}  // namespace

JobRequest base_request(const std::vector<std::string>& arguments) {
  JobRequest request;
  auto config = value_of(arguments, "--config");
  if (!config) {
    if (const char* env = std::getenv("SEAMWRIGHT_CONFIG"); env != nullptr && *env != '\0') {
      config = env;
    }
  }
  if (config) request = job_request_from_json(read_config(*config));
  if (const auto sidecar = value_of(arguments, "--from-sidecar")) {
    request = job_request_from_json(media::read_sidecar(*sidecar).at("request"));
  }
  return request;
}

void add_request_options(CLI::App& app, JobRequest& r, std::string& size) {
  // Read before parsing by base_request; declared here so that help and typos know them.
  app.add_option_function<std::string>(
         "--config", [](const std::string&) {}, "JSON file with job fields")
      ->envname("SEAMWRIGHT_CONFIG");
  app.add_option_function<std::string>(
      "--from-sidecar", [](const std::string&) {},
      "start from the request of an earlier video's sidecar JSON");
  add(app, "model", r.model,
      "model folder, .safetensors checkpoint, name or hub id; the demo model when not given");
  add(app, "motion_adapter", r.motion_adapter, "motion module file or motion adapter folder");
  add(app, "vae", r.vae, "file or folder of another VAE");
  add(app, "tokenizer", r.tokenizer,
      "folder with vocab.json and merges.txt; the model's own when "
      "not given");
  // A list on the command line replaces the one of a config file or sidecar.
  app.add_option_function<std::vector<std::string>>(
         "--lora",
         [&r](const std::vector<std::string>& all) {
           r.lora.clear();
           for (const auto& one : all) r.lora.push_back(parse_lora(one));
         },
         "LoRA merged into the weights, as FILE or FILE:SCALE; may be repeated [config: lora]")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->envname("SEAMWRIGHT_LORA");
  add(app, "prompt", r.prompt,
      "what to show; may travel: \"0: a hill at dawn / 48: a hill at night\"", "-p");
  add(app, "negative_prompt", r.negative_prompt, "what to avoid (with guidance)");
  add(app, "init_image", r.init_image, "picture that is frame 0");
  app.add_option_function<std::vector<std::string>>(
         "--keyframe",
         [&r](const std::vector<std::string>& all) {
           r.keyframes.clear();
           for (const auto& one : all) r.keyframes.push_back(parse_keyframe(one));
         },
         "picture that is frame N, as N=FILE; may be repeated [config: keyframes]")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add(app, "input_video", r.input_video,
      "video to start from: with --strength, --missing or --input-every");
  add(app, "input_fps", r.input_fps,
      "the input video at this rate, frames left out or shown twice; 0 = its own frames");
  add(app, "input_skip", r.input_skip, "frames of the input video left out at its beginning");
  add(app, "input_step", r.input_step, "take every so many-th frame of the input video");
  add(app, "missing", r.missing, "frames of the input video to fill, as 40-55,80");
  add(app, "input_every", r.input_every, "input frames lie this far apart, the rest is filled");
  add(app, "strength", r.strength, "video to video: how much of the denoising is done, 0 to 1");
  add(app, "extend", r.extend, "video to continue: its last frames are the first of the result");
  add(app, "frames", r.frames, "length in frames", "-n");
  add(app, "fps", r.fps, "frames per second of the file");
  add(app, "size", size, "picture size as WIDTHxHEIGHT; the model's own when not given");
  add(app, "steps", r.steps, "denoising steps; 0 = the model's own");
  add(app, "sampler", r.sampler, "sampler; the model's own when not given");
  add(app, "guidance", r.guidance, "guidance scale; 1 or less = none; negative = the model's own");
  add(app, "seed", r.seed, "the same seed gives the same video");
  add(app, "window", r.window,
      "frames denoised together; 0 = 16, or what the model suggests for known frames",
      "--context-length");
  add(app, "overlap", r.overlap, "frames neighbouring windows share; -1 = default",
      "--context-overlap");
  add(app, "window_schedule", r.window_schedule, "where windows lie at each step");
  add(app, "context_stride", r.context_stride, "dilation levels of uniform and looped");
  add(app, "fuse", r.fuse, "weights of overlapping predictions");
  add(app, "coherence", r.coherence, "local: all windows at once; causal: each follows the last");
  add(app, "lag", r.lag, "causal: levels between a window and its predecessor");
  add(app, "resample", r.resample,
      "rounds per step, in local mode with known frames only; 0 = default");
  add(app, "noise", r.noise, "independent, or freenoise: the first window's, shuffled");
  add(app, "motion_norm", r.motion_norm, "extent of the motion modules' group norm");
  add(app, "order", r.order, "streaming: early frames first; throughput: step by step");
  add(app, "device", r.device, "where to compute");
  add(app, "precision", r.precision, "type of activations and weights");
}

}  // namespace seamwright::cli
