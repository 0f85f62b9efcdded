#include "scheduling/freenoise.h"

#include <numeric>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/rng.h"

namespace seamwright::scheduling {
namespace {

// Element `i` of the block's shuffled order (Fisher-Yates from the back, one word a swap).
int shuffled(int i, int stride, int block_start, std::uint64_t seed) {
  std::vector<int> order(static_cast<std::size_t>(stride));
  std::iota(order.begin(), order.end(), 0);
  const NoiseKey key{seed, NoisePurpose::kShuffle, block_start, 0};
  for (int n = stride; n > 1; --n) {
    const std::uint64_t word = random_word(key, static_cast<std::uint32_t>(n));
    const auto pick = static_cast<std::size_t>((word * static_cast<std::uint64_t>(n)) >> 32);
    std::swap(order[static_cast<std::size_t>(n) - 1], order[pick]);
  }
  return order[static_cast<std::size_t>(i)];
}

// The earlier frame that `frame`, not of the first window, copies.
int copied(int frame, int window, int stride, std::uint64_t seed) {
  const int within = (frame - window) % stride;
  const int block_start = frame - within;
  return block_start - window + shuffled(within, stride, block_start, seed);
}

void check(int frame, int window, int stride) {
  require(frame >= 0 && window >= 1, "frame {} and window {} are out of range", frame, window);
  require(stride >= 1 && stride <= window,
          "context stride is {}: FreeNoise needs 1 to {} for a window of {} frames", stride, window,
          window);
}

constexpr std::size_t kKnown = 1024;  // frames whose source is kept: many windows

}  // namespace

int freenoise_source(int frame, int window, int stride, std::uint64_t seed) {
  check(frame, window, stride);
  while (frame >= window) frame = copied(frame, window, stride, seed);
  return frame;
}

int FreenoiseSources::of(int frame) {
  check(frame, window_, stride_);
  const std::lock_guard lock(mutex_);
  int source = frame;
  while (source >= window_) {
    const auto found = known_.find(source);
    source = found != known_.end() ? found->second : copied(source, window_, stride_, seed_);
  }
  known_[frame] = source;
  if (known_.size() > kKnown) known_.erase(known_.begin());
  return source;
}

}  // namespace seamwright::scheduling
