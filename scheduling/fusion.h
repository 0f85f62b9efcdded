// How the predictions of overlapping windows become one prediction per frame: a weighted mean, the
// weights normalised in double and summed in ascending window order, whatever the coverage.
// Threads: pure functions; safe anywhere.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "scheduling/windows.h"

namespace seamwright::scheduling {

enum class FusionKind {
  kFlat,           // "flat": every position counts the same
  kPyramid,        // "pyramid": 1, 2, 3 ... towards the middle of the window
  kOverlapLinear,  // "overlap-linear": ramps over the overlap, 1 elsewhere
};

std::string_view to_string(FusionKind kind);
FusionKind parse_fusion(std::string_view name);  // flat | pyramid | overlap-linear

// The unnormalised weights of one window, one per position. `frames` is the length of the video:
// overlap-linear has no ramp at an end of the video. Where its two ramps meet (overlap over half
// the window) the falling one counts, as in the community's implementation.
std::vector<double> fusion_weights(FusionKind kind, const Window& window, int overlap, int frames);

// One prediction that enters a frame's mean: position `position` of window `window`.
struct FusionTerm {
  int window = 0;
  int position = 0;
  float weight = 0.0F;  // normalised: the terms of one frame sum to 1

  bool operator==(const FusionTerm&) const = default;
};

// The terms of one frame in ascending (window, position) order. `windows` holds at least every
// window that covers the frame; others are skipped.
std::vector<FusionTerm> fusion_terms(FusionKind kind, std::span<const Window> windows, int frame,
                                     int overlap, int frames);

// Weight of the predecessor's clean estimate at each of `shared` shared frames in causal mode:
// 1 at the oldest frame, 0 at the newest; a single shared frame is the mean of both (causal.md).
std::vector<float> causal_ramp(int shared);

}  // namespace seamwright::scheduling
