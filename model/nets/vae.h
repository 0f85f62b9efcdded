// AutoencoderKL: the VAE of Stable Diffusion, both ways.
// Threads: const after construction.
#pragma once

#include <optional>
#include <vector>

#include "model/configs.h"
#include "model/layers.h"
#include "model/nets/resnet.h"
#include "model/video_model.h"

namespace seamwright::model {

// Single-head attention over all pixels, in the middle of encoder and decoder.
class VaeAttention {
 public:
  // Accepts the names of new checkpoints (to_q ...) and of old ones (query ... proj_attn).
  VaeAttention(const Scope& scope, std::int64_t channels, int groups);
  Tensor operator()(Exec& exec, ConstView x) const;  // [N, H, W, C]

 private:
  GroupNorm norm_;
  Linear to_q_, to_k_, to_v_, to_out_;
};

// Resnet, attention, resnet.
class VaeMid {
 public:
  VaeMid(const Scope& scope, std::int64_t channels, const VaeConfig& config);
  Tensor operator()(Exec& exec, ConstView x) const;  // [N, H, W, C]

 private:
  ResnetBlock2D first_;
  std::optional<VaeAttention> attention_;
  ResnetBlock2D second_;
};

class VaeEncoder {
 public:
  VaeEncoder(const Scope& scope, const VaeConfig& config);
  Tensor operator()(Exec& exec, ConstView pixels) const;  // [N, H, W, 3] -> [N, h, w, 2 latent]

 private:
  struct Level {
    std::vector<ResnetBlock2D> resnets;
    std::optional<Conv> down;
  };
  Conv conv_in_;
  std::vector<Level> levels_;
  VaeMid mid_;
  GroupNorm norm_out_;
  Conv conv_out_;
};

class VaeDecoder {
 public:
  VaeDecoder(const Scope& scope, const VaeConfig& config);
  Tensor operator()(Exec& exec, ConstView latents) const;  // [N, h, w, latent] -> [N, H, W, 3]

 private:
  struct Level {
    std::vector<ResnetBlock2D> resnets;
    std::optional<Conv> up;
  };
  Conv conv_in_;
  VaeMid mid_;
  std::vector<Level> levels_;
  GroupNorm norm_out_;
  Conv conv_out_;
};

class AutoencoderKL final : public FrameCodec {
 public:
  AutoencoderKL(LoadContext& load, const VaeConfig& config);

  std::int64_t latent_channels() const override { return config_.latent_channels; }
  std::int64_t scale() const override;
  std::int64_t pixels_at_once() const override { return std::int64_t{256} * 256; }
  // Frames are independent; memory grows with their number, so callers pass few at a time.
  Tensor decode(Exec& exec, ConstView latents) const override;
  Tensor encode(Exec& exec, ConstView pixels) const override;
  // Mean and log variance before scaling: [N, h, w, 2 latent].
  Tensor moments(Exec& exec, ConstView pixels) const;

 private:
  VaeConfig config_;
  VaeEncoder encoder_;
  VaeDecoder decoder_;
  std::optional<Linear> quant_conv_, post_quant_conv_;
  std::unique_ptr<PreparedLinear> mean_of_moments_;  // picks the first half of the channels
};

}  // namespace seamwright::model
