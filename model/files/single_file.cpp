#include "model/files/single_file.h"

#include <array>
#include <string>

#include "base/error.h"
#include "model/checkpoint_files.h"
#include "model/files/file_kind.h"
#include "model/files/original_names.h"
#include "model/files/pickle.h"
#include "model/files/renamed_source.h"

namespace seamwright::model {
namespace {

namespace fs = std::filesystem;

using Source = std::shared_ptr<const WeightSource>;

Source open(const fs::path& file) {
  refuse_other_formats(file);
  return CheckpointFiles::open_files({file});
}

// What training and packing leave in checkpoints beside the three networks: schedules as tensors,
// a running average of the weights, the VAE's loss network, counters.
constexpr std::array<std::string_view, 15> kLeftovers = {
    "model_ema.",
    "first_stage_model.loss.",
    "first_stage_model.model_ema.",
    "cond_stage_model.logit_scale",
    "cond_stage_model.transformer.logit_scale",
    "cond_stage_model.transformer.vision_model.",
    "betas",
    "alphas_cumprod",
    "sqrt_",
    "log_one_minus_alphas_cumprod",
    "posterior_",
    "lvlb_weights",
    "logvar",
    "embedding_manager.",
    "denoiser.sigmas"};

bool is_leftover(std::string_view name) {
  for (const auto prefix : kLeftovers) {
    if (name.starts_with(prefix)) return true;
  }
  return false;
}

std::optional<std::string> same_name(std::string_view name) { return std::string(name); }

Source part(const Source& file, std::string_view prefix, const RenamedSource::Rename& rename) {
  auto renamed = std::make_shared<RenamedSource>(file, prefix, rename, is_leftover);
  return renamed->empty() ? nullptr : renamed;
}

void expect_only_parts(const WeightSource& file) {
  std::string list;
  std::size_t count = 0;
  for (const auto& name : file.names()) {
    if (name.starts_with(kOriginalUNetPrefix) || name.starts_with(kOriginalVaePrefix) ||
        name.starts_with(kOriginalTextPrefix) || is_leftover(name)) {
      continue;
    }
    if (++count <= 20) list += "\n  " + name;
  }
  if (count == 0) return;
  fail(ErrorCode::kCorrupt,
       "{}: {} tensors belong to none of U-Net, VAE and text encoder of Stable Diffusion 1.x:{}{}",
       file.description(), count, list, count > 20 ? "\n  ..." : "");
}

}  // namespace

SingleFile open_single_file(const fs::path& file) {
  const Source all = open(file);
  require_kind(describe_tensors(*all), FileKind::kCheckpoint, file, "--model");
  expect_only_parts(*all);
  SingleFile parts;
  parts.unet = part(all, kOriginalUNetPrefix, unet_from_original);
  parts.vae = part(all, kOriginalVaePrefix, vae_from_original);
  parts.text = part(all, kOriginalTextPrefix, same_name);
  return parts;
}

Source open_vae_file(const fs::path& file) {
  const Source all = open(file);
  const auto report = describe_tensors(*all);
  // A whole checkpoint serves as well: its VAE is taken.
  if (report.kind == FileKind::kCheckpoint) {
    if (auto vae = part(all, kOriginalVaePrefix, vae_from_original)) return vae;
  }
  require_kind(report, FileKind::kVae, file, "--vae");
  if (auto prefixed = part(all, kOriginalVaePrefix, vae_from_original)) return prefixed;
  if (all->find("decoder.up.0.block.0.conv1.weight")) return part(all, "", vae_from_original);
  return all;
}

Source open_motion_file(const fs::path& file) {
  const Source all = open(file);
  require_kind(describe_tensors(*all), FileKind::kMotion, file, "--motion-adapter");
  return part(all, "", motion_from_original);
}

}  // namespace seamwright::model
