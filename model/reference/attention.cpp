// Spatial, cross and temporal attention.
#include <cmath>
#include <limits>

#include "model/reference/reference_backend.h"

namespace seamwright::model::reference {
namespace {

// One query of `d` channels against `keys` keys that lie `stride` elements apart.
void attend(const double* q, const double* k, const double* v, std::int64_t keys,
            std::int64_t stride, std::int64_t d, std::vector<double>& scores, double* y) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(d));
  scores.resize(static_cast<std::size_t>(keys));
  double highest = -std::numeric_limits<double>::infinity();
  for (std::int64_t t = 0; t < keys; ++t) {
    double dot = 0;
    for (std::int64_t i = 0; i < d; ++i) dot += q[i] * k[t * stride + i];
    scores[static_cast<std::size_t>(t)] = dot * scale;
    highest = std::max(highest, dot * scale);
  }
  double sum = 0;
  for (double& s : scores) sum += s = std::exp(s - highest);
  for (std::int64_t i = 0; i < d; ++i) y[i] = 0;
  for (std::int64_t t = 0; t < keys; ++t) {
    const double weight = scores[static_cast<std::size_t>(t)] / sum;
    for (std::int64_t i = 0; i < d; ++i) y[i] += weight * v[t * stride + i];
  }
}

}  // namespace

void ReferenceBackend::attention(int heads, bool causal, ConstView q, ConstView k, ConstView v,
                                 View y, Allocator&) {
  const std::int64_t c = q.shape[2], d = c / heads, queries = q.shape[1], keys = k.shape[1];
  std::vector<double> scores;
  for (std::int64_t n = 0; n < q.shape[0]; ++n) {
    const std::int64_t shared = k.shape[0] == 1 ? 0 : n * keys * c;
    for (std::int64_t s = 0; s < queries; ++s) {
      for (std::int64_t head = 0; head < heads; ++head) {
        const std::int64_t at = (n * queries + s) * c + head * d;
        attend(q.as<double>() + at, k.as<double>() + shared + head * d,
               v.as<double>() + shared + head * d, causal ? s + 1 : keys, c, d, scores,
               y.as<double>() + at);
      }
    }
  }
}

void ReferenceBackend::temporal_attention(int heads, ConstView q, ConstView k, ConstView v, View y,
                                          Allocator&) {
  const std::int64_t frames = q.shape[0], positions = q.shape[1], c = q.shape[2], d = c / heads;
  std::vector<double> scores;
  for (std::int64_t f = 0; f < frames; ++f) {
    for (std::int64_t s = 0; s < positions; ++s) {
      for (std::int64_t head = 0; head < heads; ++head) {
        const std::int64_t first = s * c + head * d;
        const std::int64_t at = f * positions * c + first;
        attend(q.as<double>() + at, k.as<double>() + first, v.as<double>() + first, frames,
               positions * c, d, scores, y.as<double>() + at);
      }
    }
  }
}

}  // namespace seamwright::model::reference
