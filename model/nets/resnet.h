// The residual convolution block that U-Nets and VAEs share, and their resampling.
// Threads: const after construction.
#pragma once

#include <optional>

#include "model/layers.h"

namespace seamwright::model {

struct ResnetSpec {
  std::int64_t in = 0, out = 0;
  int groups = 32;
  double eps = 1e-5;
  std::int64_t time_channels = 0;  // 0: no time embedding (VAEs)
  // Of the result, and of x where it is added as it is.
  ops::Result result = ops::Result::kNarrow;
};

class ResnetBlock2D {
 public:
  ResnetBlock2D(const Scope& scope, const ResnetSpec& spec);
  // x [F, H, W, in] -> [F, H, W, out]. silu_temb [1, time_channels] is already activated: every
  // block applies SiLU to the same embedding first, so it is done once per evaluation.
  Tensor operator()(Exec& exec, ConstView x, ConstView silu_temb = {}) const;

 private:
  GroupNorm norm1_;
  Conv conv1_;
  std::optional<Linear> time_emb_proj_;
  GroupNorm norm2_;
  Conv conv2_;
  std::optional<Linear> conv_shortcut_;
  ops::Result result_;
};

}  // namespace seamwright::model
