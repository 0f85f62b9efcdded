// From 8-bit pixels to encoder input.
// Threads: pure functions; safe anywhere.
#pragma once

#include <cstdint>
#include <span>

namespace seamwright::media {

// 0..255 to [-1, 1]: x/127.5 - 1. Sizes must agree; layout is
// kept. The way back is an op (model/ops.h).
void from_rgb8(std::span<const std::uint8_t> pixels, std::span<float> model_input);

}  // namespace seamwright::media
