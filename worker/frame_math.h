// The arithmetic between U-Net evaluations: guidance and fusion, element by element in fp32.
// Threads: pure functions; safe anywhere. Every rank that needs a frame runs this same code on the
// same numbers, which is why results do not depend on who runs it.
#pragma once

#include <span>

namespace seamwright::worker {

// out = u + g * (c - u) (classifier-free guidance, Ho and Salimans 2022). out may be u or c.
void guide(std::span<const float> unconditional, std::span<const float> conditional, float guidance,
           std::span<float> out);

// One prediction that enters a frame's mean.
struct WeightedPrediction {
  std::span<const float> values;
  float weight = 1.0F;
};

// out = sum of weight * values, in the order given (ascending windows). One term of weight 1 gives
// the term itself: one code path for any coverage.
void fuse(std::span<const WeightedPrediction> terms, std::span<float> out);

// out = p * a + (1 - p) * b
void mix(float p, std::span<const float> a, std::span<const float> b, std::span<float> out);

// [C, h, w] planes of one frame <-> [h, w, C] rows, fp32.
void planes_to_rows(std::span<const float> planes, int channels, std::span<float> rows);
void rows_to_planes(std::span<const float> rows, int channels, std::span<float> planes);

}  // namespace seamwright::worker
