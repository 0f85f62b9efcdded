// Checks one op at any size against sums in double of a few of its outputs: what makes full-size
// shapes affordable to check. Inputs are drawn, rounded to what the backend holds.
// Threads: one at a time.
#pragma once

#include <string>

#include "model/ops.h"

namespace seamwright::model::testing_support {

// What one check found: errors of the sampled outputs relative to their RMS.
struct Sampled {
  double relative_rms = 0, worst = 0;  // worst: single element over the RMS
  bool finite = true;
};

Sampled sample_conv(Backend& backend, const ConvSpec& spec, const Shape& x /* [N, H, W, in] */,
                    bool residual);
Sampled sample_linear(Backend& backend, std::int64_t rows, std::int64_t in, std::int64_t out,
                      bool residual);
Sampled sample_geglu(Backend& backend, std::int64_t rows, std::int64_t in, std::int64_t inner);
Sampled sample_group_norm(Backend& backend, const Shape& x, int groups, NormExtent extent);
Sampled sample_layer_norm(Backend& backend, std::int64_t rows, std::int64_t channels);
// keys_batch: 1 or `n`.
Sampled sample_attention(Backend& backend, std::int64_t n, std::int64_t queries, std::int64_t keys,
                         std::int64_t keys_batch, int heads, std::int64_t head_size);
Sampled sample_temporal(Backend& backend, std::int64_t frames, std::int64_t positions, int heads,
                        std::int64_t head_size);
// Queries, keys and values side by side, over rows or over frames: for a backend that joins them.
Sampled sample_joined(Backend& backend, bool over_frames, std::int64_t frames, std::int64_t rows,
                      int heads, std::int64_t head_size);

}  // namespace seamwright::model::testing_support
