#include "worker/frame_math.h"

#include <cstddef>

#include "base/error.h"

namespace seamwright::worker {

void guide(std::span<const float> unconditional, std::span<const float> conditional, float guidance,
           std::span<float> out) {
  ensure(unconditional.size() == conditional.size() && out.size() == conditional.size(),
         "guidance needs predictions of one size");
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = unconditional[i] + guidance * (conditional[i] - unconditional[i]);
  }
}

void fuse(std::span<const WeightedPrediction> terms, std::span<float> out) {
  ensure(!terms.empty(), "a frame needs at least one prediction");
  for (const auto& term : terms) {
    ensure(term.values.size() == out.size(), "predictions of one frame must have one size");
  }
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = terms[0].weight * terms[0].values[i];
  for (std::size_t t = 1; t < terms.size(); ++t) {
    const float weight = terms[t].weight;
    const auto values = terms[t].values;
    for (std::size_t i = 0; i < out.size(); ++i) out[i] += weight * values[i];
  }
}

void mix(float p, std::span<const float> a, std::span<const float> b, std::span<float> out) {
  ensure(a.size() == out.size() && b.size() == out.size(), "mixed frames must have one size");
  const float q = 1.0F - p;
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = p * a[i] + q * b[i];
}

void planes_to_rows(std::span<const float> planes, int channels, std::span<float> rows) {
  const std::size_t c = static_cast<std::size_t>(channels);
  const std::size_t pixels = planes.size() / c;
  ensure(planes.size() == rows.size() && pixels * c == planes.size(), "frame size mismatch");
  for (std::size_t k = 0; k < c; ++k) {
    for (std::size_t i = 0; i < pixels; ++i) rows[i * c + k] = planes[k * pixels + i];
  }
}

void rows_to_planes(std::span<const float> rows, int channels, std::span<float> planes) {
  const std::size_t c = static_cast<std::size_t>(channels);
  const std::size_t pixels = planes.size() / c;
  ensure(planes.size() == rows.size() && pixels * c == planes.size(), "frame size mismatch");
  for (std::size_t k = 0; k < c; ++k) {
    for (std::size_t i = 0; i < pixels; ++i) planes[k * pixels + i] = rows[i * c + k];
  }
}

}  // namespace seamwright::worker
