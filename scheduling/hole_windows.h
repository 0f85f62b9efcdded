// Where the static windows of a video with given frames lie: around what is missing.
// Threads: safe anywhere.
#pragma once

#include <vector>

#include "scheduling/windows.h"

namespace seamwright::scheduling {

// The windows of a request with given frames and more frames than a window holds, in order; their
// beginnings and ends ascend, and every frame is in one at least. A run of missing frames has the
// fewest windows at the usual distance that reach from an overlap before it to an overlap after it,
// with their middle on its middle. No window begins less than `window - overlap` frames after the
// one before it, the last one apart, which the end of the video may push back. What no window holds
// then is known, and is in shorter windows that need not be denoised. Takes time and memory of the
// video's length.
std::vector<FrameRange> windows_around_holes(const WindowRequest& request);

}  // namespace seamwright::scheduling
