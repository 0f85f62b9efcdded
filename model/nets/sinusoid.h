// The two sinusoidal tables of these models, which are not the same: timesteps put all cosines
// first, motion positions alternate sine and cosine.
// Threads: pure functions.
#pragma once

#include "model/tensor.h"

namespace seamwright::model {

// Host f32 [1, channels]: cos(t f_0), cos(t f_1) ... sin(t
// f_0) ..., f_k = 10000^(-k / (channels/2)).
Tensor timestep_features(float timestep, std::int64_t channels);

// Host f32 [frames, channels]: sin(p w_k) at 2k, cos(p w_k)
// at 2k + 1, w_k = 10000^(-2k / channels).
Tensor motion_position_table(std::int64_t frames, std::int64_t channels);

}  // namespace seamwright::model
