// The U-Net of Stable Diffusion 1.x/2.x, with or without AnimateDiff's motion modules.
// Threads: const after construction.
#pragma once

#include <memory>
#include <vector>

#include "model/configs.h"
#include "model/denoiser.h"
#include "model/layers.h"
#include "model/nets/unet_blocks.h"

namespace seamwright::model {

struct UNetOptions {
  NormExtent motion_norm = NormExtent::kAcrossFrames;
  std::vector<BlockRange> blocks{};  // only these blocks' weights are loaded; empty: all
};

class UNet final : public Denoiser {
 public:
  // Motion modules come from `adapter` where one is given, else from `unet` itself.
  UNet(const UNetConfig& config, LoadContext& unet, LoadContext* adapter,
       const UNetOptions& options = {});

  std::int64_t in_channels() const override { return config_.in_channels; }
  std::int64_t out_channels() const override { return config_.out_channels; }
  std::int64_t max_window() const override { return max_window_; }
  std::int64_t spatial_divisor() const override;
  const std::vector<BlockInfo>& blocks() const override { return infos_; }
  void run(Exec& exec, std::size_t first, std::size_t last, const DenoiseInput& input,
           Activations& activations) const override;

  Tensor time_embedding(Exec& exec, float timestep) const override {
    return silu_time_embedding(exec, timestep);
  }

  // linear_2(silu(linear_1(features))), activated once more as every resnet does: [1, 4 C0].
  Tensor silu_time_embedding(Exec& exec, float timestep) const;

 private:
  UNetConfig config_;
  Linear time_linear1_, time_linear2_;  // every stage has its own
  std::vector<BlockInfo> infos_;
  std::vector<std::unique_ptr<UNetBlock>> blocks_;  // null where not loaded
  std::int64_t max_window_;
};

}  // namespace seamwright::model
