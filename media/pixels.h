// From decoder output to 8-bit pixels.
// Threads: pure functions; safe anywhere.
#pragma once

#include <cstdint>
#include <span>

namespace seamwright::media {

// [-1, 1] to 0..255 as the reference pipelines do it: x/2 + 0.5, clamped, times 255, rounded to
// nearest even. NaN becomes 0. Sizes must agree; layout is kept (channels-last in, RGB8 out).
void to_rgb8(std::span<const float> model_output, std::span<std::uint8_t> pixels);

// 0..255 to [-1, 1]: x/127.5 - 1; what encoders take.
void from_rgb8(std::span<const std::uint8_t> pixels, std::span<float> model_input);

}  // namespace seamwright::media
