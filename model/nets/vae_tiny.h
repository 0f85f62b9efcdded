// AutoencoderTiny (TAESD): a small codec without normalisation, of any number of stages.
// Threads: const after construction.
#pragma once

#include <vector>

#include "model/configs.h"
#include "model/layers.h"
#include "model/video_model.h"

namespace seamwright::model {

// Three convolutions, their input added, ReLU throughout.
class TinyBlock {
 public:
  TinyBlock(const Scope& scope, std::int64_t channels);
  Tensor operator()(Exec& exec, ConstView x) const;  // [N, H, W, C]

 private:
  Conv conv0_, conv2_, conv4_;
};

class AutoencoderTiny final : public FrameCodec {
 public:
  AutoencoderTiny(LoadContext& load, const TinyVaeConfig& config);

  std::int64_t latent_channels() const override { return config_.latent_channels; }
  std::int64_t scale() const override {
    return std::int64_t{1} << (config_.num_decoder_blocks.size() - 1);
  }
  // Frames are independent; memory grows with their number, so callers pass few at a time.
  Tensor decode(Exec& exec, ConstView latents) const override;
  Tensor encode(Exec& exec, ConstView pixels) const override;

 private:
  // A stage of the encoder is a convolution (strided but in the first) and blocks; one of the
  // decoder is blocks and a convolution, after doubling the size but in the last.
  struct Stage {
    std::vector<Conv> conv;  // exactly one; a vector since a stage is built piece by piece
    std::vector<TinyBlock> blocks;
  };
  void build_encoder(LoadContext& load);
  void build_decoder(LoadContext& load);

  TinyVaeConfig config_;
  std::vector<Stage> encoder_, decoder_;
  std::vector<Conv> encoder_out_, decoder_in_;  // exactly one each
};

}  // namespace seamwright::model
