// FreeNoise: long videos re-use the noise of their first window in a shuffled order, so that far
// apart frames keep something in common.
// Threads: pure functions; safe anywhere.
#pragma once

#include <cstdint>

namespace seamwright::scheduling {

// The base frame, in [0, window), whose independent noise frame `frame` starts from. Frames of the
// first window are their own source. After that come blocks of `stride` frames: the block that
// starts at p re-uses the noise of frames p - window .. p - window + stride - 1 in a shuffled order
// (copies of copies), the order drawn from (seed, p). It never depends on the video's length.
int freenoise_source(int frame, int window, int stride, std::uint64_t seed);

}  // namespace seamwright::scheduling
