#include "scheduling/fusion.h"

#include <algorithm>

#include "base/error.h"

namespace seamwright::scheduling {
namespace {

// Not zero, so that a frame covered by ramp ends alone still has a weight to divide by.
constexpr double kRampStart = 1e-37;

// n values from kRampStart to 1.
double rising(int i, int n) {
  return n == 1 ? kRampStart : kRampStart + (1.0 - kRampStart) * i / (n - 1);
}

// The mirrored ramp; of a single value only its beginning, 1, is left.
double falling(int i, int n) { return n == 1 ? 1.0 : rising(n - 1 - i, n); }

}  // namespace

std::string_view to_string(FusionKind kind) {
  switch (kind) {
    case FusionKind::kFlat:
      return "flat";
    case FusionKind::kPyramid:
      return "pyramid";
    case FusionKind::kOverlapLinear:
      return "overlap-linear";
  }
  return "?";
}

FusionKind parse_fusion(std::string_view name) {
  for (const auto kind : {FusionKind::kFlat, FusionKind::kPyramid, FusionKind::kOverlapLinear}) {
    if (name == to_string(kind)) return kind;
  }
  fail(ErrorCode::kInvalidArgument, "unknown fusion '{}': use flat, pyramid or overlap-linear",
       name);
}

std::vector<double> fusion_weights(FusionKind kind, const Window& window, int overlap, int frames) {
  const int length = static_cast<int>(window.frames.size());
  std::vector<double> weights(window.frames.size(), 1.0);
  if (kind == FusionKind::kPyramid) {
    for (int j = 0; j < length; ++j) {
      weights[static_cast<std::size_t>(j)] = std::min(j + 1, length - j);
    }
  } else if (kind == FusionKind::kOverlapLinear) {
    const auto [first, last] = std::minmax_element(window.frames.begin(), window.frames.end());
    const int ramped = std::min(overlap, length);
    for (int i = 0; i<ramped&& * first> 0; ++i) {
      weights[static_cast<std::size_t>(i)] = rising(i, ramped);
    }
    for (int i = 0; i < ramped && *last < frames - 1; ++i) {
      weights[static_cast<std::size_t>(length - ramped + i)] = falling(i, ramped);
    }
  }
  return weights;
}

std::vector<FusionTerm> fusion_terms(FusionKind kind, std::span<const Window> windows, int frame,
                                     int overlap, int frames) {
  std::vector<FusionTerm> terms;
  std::vector<double> raw;
  double total = 0.0;
  for (const auto& window : windows) {
    ensure(terms.empty() || terms.back().window < window.id, "windows must come in id order");
    std::vector<double> weights;
    for (std::size_t j = 0; j < window.frames.size(); ++j) {
      if (window.frames[j] != frame) continue;
      if (weights.empty()) weights = fusion_weights(kind, window, overlap, frames);
      terms.push_back({window.id, static_cast<int>(j), 0.0F});
      raw.push_back(weights[j]);
      total += weights[j];
    }
  }
  ensure(!terms.empty(), "no window covers frame {}", frame);
  for (std::size_t i = 0; i < terms.size(); ++i) {
    terms[i].weight = static_cast<float>(raw[i] / total);
  }
  return terms;
}

std::vector<float> causal_ramp(int shared) {
  if (shared == 1) return {0.5F};
  std::vector<float> weights(static_cast<std::size_t>(std::max(shared, 0)));
  for (int i = 0; i < shared; ++i) {
    weights[static_cast<std::size_t>(i)] =
        static_cast<float>(1.0 - static_cast<double>(i) / (shared - 1));
  }
  return weights;
}

}  // namespace seamwright::scheduling
