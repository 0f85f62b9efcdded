#include "model/files/file_kind.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "base/error.h"
#include "model/checkpoint_files.h"
#include "model/files/lora_file.h"
#include "model/files/original_names.h"
#include "model/files/pickle.h"
#include "model/files/renamed_source.h"
#include "model/files/single_file.h"

namespace seamwright::model {
namespace {

class Names {
 public:
  explicit Names(const WeightSource& source) : source_(source), names_(source.names()) {}
  bool starting(std::string_view prefix) const {
    return std::ranges::any_of(names_, [&](const auto& n) { return n.starts_with(prefix); });
  }
  bool containing(std::string_view part) const {
    return std::ranges::any_of(names_,
                               [&](const auto& n) { return n.find(part) != std::string::npos; });
  }
  bool has(std::string_view name) const { return source_.find(name).has_value(); }
  // A dimension of a tensor, 0 where it is absent.
  std::int64_t dim(std::string_view name, int axis) const {
    const auto found = source_.find(name);
    return found && found->shape.rank() > axis ? found->shape[axis] : 0;
  }
  const std::vector<std::string>& all() const { return names_; }

 private:
  const WeightSource& source_;
  std::vector<std::string> names_;
};

FileReport refused(FileKind kind, std::string title, std::string why) {
  return {.kind = kind, .title = std::move(title), .use = {}, .refused = std::move(why)};
}

FileReport usable(FileKind kind, std::string title, std::string use) {
  return {.kind = kind, .title = std::move(title), .use = std::move(use), .refused = {}};
}

FileReport checkpoint(const Names& names) {
  const auto kind = FileKind::kOtherCheckpoint;
  if (names.starting("conditioner.embedders.")) {
    return refused(kind, "SDXL checkpoint", "only Stable Diffusion 1.x checkpoints are supported");
  }
  if (names.starting("cond_stage_model.model.")) {
    return refused(kind, "Stable Diffusion 2.x checkpoint",
                   "only Stable Diffusion 1.x checkpoints are supported");
  }
  if (names.starting("model.diffusion_model.double_blocks.") ||
      names.starting("model.diffusion_model.joint_blocks.")) {
    return refused(kind, "checkpoint of a diffusion transformer (Flux, SD 3 or alike)",
                   "only Stable Diffusion 1.x checkpoints are supported");
  }
  const auto channels = names.dim("model.diffusion_model.input_blocks.0.0.weight", 1);
  if (channels != 4) {
    return refused(kind,
                   fmt::format("Stable Diffusion checkpoint with {} input channels", channels),
                   channels == 9 ? "inpainting checkpoints are not supported"
                                 : "it needs conditioning that is not supported");
  }
  std::string without;
  if (!names.starting(kOriginalVaePrefix)) without += ", without VAE (give --vae FILE)";
  if (!names.starting(kOriginalTextPrefix)) without += ", without text encoder";
  if (!names.starting(kOriginalTextPrefix)) {
    return refused(
        FileKind::kCheckpoint, "Stable Diffusion 1.x checkpoint" + without,
        "a checkpoint must hold its text encoder (cond_stage_model.*): use the full file");
  }
  return usable(FileKind::kCheckpoint, "Stable Diffusion 1.x checkpoint" + without,
                "--model FILE, with a motion module for 1.x: --motion-adapter FILE");
}

std::shared_ptr<const WeightSource> unowned(const WeightSource& source) {
  return {std::shared_ptr<void>(), &source};
}

FileReport motion(const WeightSource& source, const Names& names) {
  if (names.containing("temporal_attentions.")) {
    return refused(FileKind::kControl, "HotshotXL motion module", "it belongs to SDXL");
  }
  if (names.has("conv_in.weight")) {
    return refused(FileKind::kControl, "motion module with its own input layer (PIA or alike)",
                   "it needs a reference picture as extra input channels");
  }
  if (names.starting("img_encoder.") || names.starting("fps_embedding.")) {
    return refused(FileKind::kControl, "motion module with an image or frame-rate encoder",
                   "such conditioning is not supported");
  }
  const RenamedSource renamed(unowned(source), "", motion_from_original);
  const bool original = names.containing(".temporal_transformer.");
  const bool attends_once =
      !renamed.find("down_blocks.0.motion_modules.0.transformer_blocks.0.attn2.to_q.weight");
  if (attends_once || names.starting("controlnet_") || names.starting("input_hint_block.")) {
    return refused(FileKind::kControl, "SparseCtrl encoder", "SparseCtrl is not supported");
  }
  const MotionConfig config = motion_config_of(renamed);
  if (config.block_out_channels.size() == 3) {
    return refused(FileKind::kControl, "AnimateDiff motion module for SDXL", "it belongs to SDXL");
  }
  const bool table =
      renamed.find("down_blocks.0.motion_modules.0.transformer_blocks.0.pos_embed.pe").has_value();
  const std::string version = config.use_mid_block          ? "v2 layout (with a mid module)"
                              : !table                      ? "AnimateLCM layout"
                              : config.max_seq_length == 24 ? "v1"
                                                            : "v3 layout";
  return usable(
      FileKind::kMotion,
      fmt::format("AnimateDiff motion module, {}, {} names, windows up to {} frames{}", version,
                  original ? "original" : "diffusers", config.max_seq_length,
                  table ? "" : " (no position table stored: computed)"),
      "--motion-adapter FILE, with a Stable Diffusion 1.x model; distilled ones (AnimateLCM, "
      "Lightning) also want their sampler and guidance, for example --sampler lcm --guidance 1");
}

FileReport lora(const WeightSource& source) {
  const LoraFile file = read_lora(source);
  const bool motion = std::ranges::any_of(file.modules, [](const auto& m) {
    return m.path.find("motion_modules") != std::string::npos;
  });
  bool unet = false, text = false, conv = false;
  std::int64_t low = 0, high = 0;
  for (const auto& m : file.modules) {
    (m.part == LoraPart::kText ? text : unet) = true;
    conv = conv || m.down.shape.rank() == 4;
    const std::int64_t rank = m.down.shape[0];
    low = low == 0 ? rank : std::min(low, rank);
    high = std::max(high, rank);
  }
  const std::string ranks =
      low == high ? fmt::format("rank {}", low) : fmt::format("ranks {} to {}", low, high);
  return usable(motion ? FileKind::kMotionLora : FileKind::kLora,
                fmt::format("{} in {} names, {}, {} layers{}{}", motion ? "motion LoRA" : "LoRA",
                            file.naming, ranks, file.modules.size(),
                            text ? (unet ? ", of U-Net and text encoder" : ", of the text encoder")
                                 : ", of the U-Net",
                            conv ? ", convolutions too" : ""),
                motion ? "--lora FILE:1.0, with a v2 motion module"
                       : "--lora FILE:0.8, with a model of the same family; may be repeated");
}

// Networks that are used beside a U-Net and that nothing here runs.
std::string control_title(const Names& names) {
  if (names.starting("ip_adapter.") || names.starting("image_proj.")) return "IP-Adapter";
  if (names.starting("control_model.") || names.starting("controlnet_") ||
      names.starting("input_hint_block.") || names.starting("zero_convs.")) {
    return "ControlNet";
  }
  if (names.starting("body.") && names.starting("adapter.")) return "T2I-Adapter";
  return {};
}

FileReport classify(const WeightSource& source) {
  const Names names(source);
  if (is_lora(source)) return lora(source);
  const bool has_motion =
      names.containing("motion_modules.") || names.containing("temporal_attentions.");
  if (has_motion && names.has("down_blocks.0.resnets.0.conv1.weight") &&
      names.has("conv_norm_out.weight")) {
    return refused(FileKind::kUNet, "diffusers U-Net with motion modules (UNetMotionModel)",
                   "give its model folder as --model");
  }
  if (has_motion) return motion(source, names);
  if (const auto title = control_title(names); !title.empty()) {
    return refused(FileKind::kControl, title, title + " is not supported");
  }
  if (names.starting(kOriginalUNetPrefix)) return checkpoint(names);
  const bool vae_original = names.has("decoder.up.0.block.0.conv1.weight") ||
                            names.has("first_stage_model.decoder.up.0.block.0.conv1.weight");
  if (vae_original || names.has("decoder.up_blocks.0.resnets.0.conv1.weight")) {
    return usable(FileKind::kVae,
                  fmt::format("VAE, {} names", vae_original ? "original" : "diffusers"),
                  "--vae FILE, with any Stable Diffusion 1.x model");
  }
  if (is_tiny_vae(source)) {
    return usable(FileKind::kVae, "AutoencoderTiny (TAESD), diffusers names",
                  "--vae FILE, with any Stable Diffusion 1.x model");
  }
  if (names.has("down_blocks.0.resnets.0.conv1.weight")) {
    return refused(FileKind::kUNet, "diffusers U-Net alone", "give its model folder as --model");
  }
  if (names.containing("encoder.layers.0.self_attn.q_proj.weight")) {
    return refused(FileKind::kTextEncoder, "text encoder alone",
                   "give its model folder as --model");
  }
  if (names.has("emb_params") || names.containing("string_to_param")) {
    return refused(FileKind::kEmbedding, "textual inversion embedding",
                   "embeddings are not supported");
  }
  return refused(FileKind::kUnknown, "nothing known", "no tensor name is one of a known layout");
}

}  // namespace

FileReport describe_tensors(const WeightSource& source) {
  FileReport report;
  try {
    report = classify(source);
  } catch (const Error& error) {
    report = refused(FileKind::kUnknown, "a damaged or unusual file", error.what());
  }
  for (const auto& name : source.names()) {
    ++report.tensors;
    report.bytes += source.find(name)->bytes();
  }
  return report;
}

FileReport describe_file(const std::filesystem::path& file) {
  refuse_other_formats(file);
  return describe_tensors(*CheckpointFiles::open_files({file}));
}

std::string to_text(const FileReport& report, const std::filesystem::path& file) {
  std::string out = fmt::format("{}\n{} ({} tensors, {:.1f} MiB)\n", file.string(), report.title,
                                report.tensors, static_cast<double>(report.bytes) / (1 << 20));
  if (!report.use.empty()) out += "use: " + report.use + "\n";
  if (!report.refused.empty()) out += "refused: " + report.refused + "\n";
  return out;
}

void require_kind(const FileReport& report, FileKind wanted, const std::filesystem::path& file,
                  std::string_view option) {
  if (report.kind == wanted && report.refused.empty()) return;
  fail(ErrorCode::kUnsupported, "{} cannot be given as {}: it is: {}. {}{}", file.string(), option,
       report.title, report.refused.empty() ? "It is used so: " : "It cannot be used: ",
       report.refused.empty() ? report.use : report.refused);
}

}  // namespace seamwright::model
