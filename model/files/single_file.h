// The networks in one original-format file, with configs read off the tensors' shapes: a Stable
// Diffusion 1.x checkpoint, a VAE, or a motion module (diffusers' names are taken for the last
// two).
// Threads: immutable after opening.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "model/configs.h"
#include "model/weights.h"

namespace seamwright::model {

// A network's tensors under diffusers' names; null where the file holds none of them.
struct SingleFile {
  std::shared_ptr<const WeightSource> unet, vae, text;
};

// Throws kUnsupported saying what the file is and how such a file is used, where it is no
// Stable Diffusion 1.x checkpoint, and kCorrupt listing tensors that belong to none of the three.
SingleFile open_single_file(const std::filesystem::path& file);
// The same for a file that may be only a VAE, original or diffusers'.
std::shared_ptr<const WeightSource> open_vae_file(const std::filesystem::path& file);
std::shared_ptr<const WeightSource> open_motion_file(const std::filesystem::path& file);

// Configs from shapes. What shapes cannot say is what Stable Diffusion 1.x has: 8 heads, 12 in the
// text encoder, 32 groups (see norm_groups), epsilon 1e-5, scaling 0.18215.
UNetConfig unet_config_of(const WeightSource& unet);
VaeConfig vae_config_of(const WeightSource& vae);
bool is_tiny_vae(const WeightSource& vae);  // AutoencoderTiny, which has one public config
ClipTextConfig text_config_of(const WeightSource& text);
MotionConfig motion_config_of(const WeightSource& motion);

// 32, or for narrower networks (tests) the largest power of two that divides every width.
int norm_groups(const std::vector<std::int64_t>& widths);

}  // namespace seamwright::model
