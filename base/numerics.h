// Which bits this program makes, as far as the backend and its device do not say it.
// Threads: a constant.
#pragma once

namespace seamwright {

// To be raised by every change after which a job would give other bits: kernels and their order of
// sums, noise, samplers, windows and fusion, prompts, the decoder, what a record or segment holds.
// Work that another revision has begun is not gone on with.
inline constexpr int kNumericsRevision = 4;

}  // namespace seamwright
