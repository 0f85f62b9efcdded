// `seamwright models`: what model folders there are, what is in one, and a full-size one to test.
#include <fmt/core.h>

#include <filesystem>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/request.h"
#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "cli/model_path.h"
#include "model/files/file_kind.h"
#include "model/files/pickle.h"
#include "model/inspect.h"
#include "model/random_checkpoint.h"

namespace seamwright::cli {
namespace {

struct ModelsFlags {
  std::string model, adapter, vae, precision = "fp32", latents;
  std::string folder, tokenizer, motion = "v3", names = "diffusers";
  std::vector<std::string> loras;
  int frames = 16, shrink = 1;
  std::uint64_t seed = 0;
};

// What one file is; of a checkpoint with its motion module, everything that is said of a folder.
int inspect_file(const std::filesystem::path& file) {
  const auto report = model::describe_file(file);
  fmt::print("{}", model::to_text(report, file));
  return report.refused.empty() ? 0 : exit_code(ErrorCode::kUnsupported);
}

int inspect(const ModelsFlags& flags) {
  const bool parts = !flags.adapter.empty() || !flags.vae.empty() || !flags.loras.empty();
  if (!parts && std::filesystem::is_regular_file(flags.model)) return inspect_file(flags.model);
  model::InspectOptions options;
  options.load.model = find_model(flags.model);
  if (const auto clip = clip_tokenizer(); !clip.empty()) options.load.tokenizer_fallback = clip;
  if (!flags.tokenizer.empty()) options.load.tokenizer = flags.tokenizer;
  for (const auto& text : flags.loras) {
    const auto lora = parse_lora(text);
    options.load.loras.push_back({lora.file, lora.scale});
  }
  if (!flags.adapter.empty()) options.load.motion_adapter = flags.adapter;
  if (!flags.vae.empty()) options.load.vae = flags.vae;
  options.activations = flags.precision == "bf16" ? model::DType::kBF16 : model::DType::kF32;
  options.frames = flags.frames;
  if (!flags.latents.empty()) {
    int width = 0, height = 0;
    parse_size(flags.latents, width, height);
    options.latent_width = width;
    options.latent_height = height;
  }
  const auto report = model::inspect_model(options);
  fmt::print("{}", model::to_text(report));
  return report.loads() ? 0 : exit_code(ErrorCode::kCorrupt);
}

int list() {
  for (const auto& root : model_roots()) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(root, error)) {
      if (std::filesystem::exists(entry.path() / "model_index.json")) {
        fmt::print("{}\t{}\n", entry.path().filename().string(),
                   std::filesystem::weakly_canonical(entry.path()).string());
      }
    }
  }
  return 0;
}

std::filesystem::path default_tokenizer() {
  const auto clip = clip_tokenizer();
  return clip.empty() ? find_model("") / "tokenizer" : clip;
}

int write_random(const ModelsFlags& flags) {
  model::RandomCheckpoint request;
  request.folder = flags.folder;
  request.tokenizer =
      flags.tokenizer.empty() ? default_tokenizer() : std::filesystem::path(flags.tokenizer);
  request.seed = flags.seed;
  request.shrink = flags.shrink;
  request.original_names = flags.names == "original";
  request.motion = flags.motion == "v1"   ? model::MotionVersion::kV1
                   : flags.motion == "v2" ? model::MotionVersion::kV2
                                          : model::MotionVersion::kV3;
  const auto bytes = model::write_random_checkpoint(request);
  fmt::print("{}\n", flags.folder);
  fmt::print(stderr, "wrote {:.2f} GB\n", static_cast<double>(bytes) * 1e-9);
  return 0;
}

}  // namespace

void add_models(CLI::App& app, Command& command) {
  auto* verb = app.add_subcommand("models", "list and inspect model folders");
  verb->require_subcommand(1);
  const auto flags = std::make_shared<ModelsFlags>();

  auto* inspect_verb =
      verb->add_subcommand("inspect",
                           "a file: what it is and how it is used; a model: parts, "
                           "blocks, memory, work, and what would be refused");
  inspect_verb->add_option("model", flags->model, "file, folder, name or hub id")->required();
  inspect_verb->add_option("--motion-adapter", flags->adapter, "motion module file or folder");
  inspect_verb->add_option("--vae", flags->vae, "file or folder of another VAE");
  inspect_verb->add_option("--tokenizer", flags->tokenizer, "tokenizer folder");
  inspect_verb->add_option("--lora", flags->loras, "LoRA as FILE or FILE:SCALE; may be repeated");
  inspect_verb->add_option("--precision", flags->precision, "fp32 or bf16")
      ->check(CLI::IsMember({"fp32", "bf16"}));
  inspect_verb->add_option("--frames", flags->frames, "frames of a window")
      ->check(CLI::Range(1, 1024));
  inspect_verb->add_option("--latents", flags->latents, "latent size as WxH");
  inspect_verb->callback([flags, &command] { command.run = [flags] { return inspect(*flags); }; });

  auto* list_verb = verb->add_subcommand("list", "models that can be given by name");
  list_verb->callback([&command] { command.run = [] { return list(); }; });

  auto* random = verb->add_subcommand(
      "write-random", "write a full-size SD 1.5 with motion module and random weights, for tests");
  random->add_option("folder", flags->folder, "the folder to make")->required();
  random->add_option("--tokenizer", flags->tokenizer,
                     "folder with vocab.json and merges.txt; CLIP's own when not given");
  random->add_option("--seed", flags->seed, "of the weights");
  random
      ->add_option("--names", flags->names,
                   "diffusers: a model folder; original: a checkpoint and a motion module file")
      ->check(CLI::IsMember({"diffusers", "original"}));
  random->add_option("--motion", flags->motion, "version of the motion module")
      ->check(CLI::IsMember({"v1", "v2", "v3"}));
  random->add_option("--shrink", flags->shrink, "divides every width")->check(CLI::Range(1, 64));
  random->callback([flags, &command] { command.run = [flags] { return write_random(*flags); }; });
}

}  // namespace seamwright::cli
