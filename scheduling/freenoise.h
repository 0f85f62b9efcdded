// FreeNoise: long videos re-use the noise of their first window in a shuffled order, so that far
// apart frames keep something in common.
// Threads: safe anywhere.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

namespace seamwright::scheduling {

// The base frame, in [0, window), whose independent noise frame `frame` starts from. Frames of the
// first window are their own source. After that come blocks of `stride` frames: the block that
// starts at p re-uses the noise of frames p - window .. p - window + stride - 1 in a shuffled order
// (copies of copies), the order drawn from (seed, p). It never depends on the video's length.
int freenoise_source(int frame, int window, int stride, std::uint64_t seed);

// The same for who asks again and again: what a frame copies was asked for before, as a rule, so
// that an answer costs the same however far into the video it is.
class FreenoiseSources {
 public:
  FreenoiseSources(int window, int stride, std::uint64_t seed)
      : window_(window), stride_(stride), seed_(seed) {}
  int of(int frame);

 private:
  int window_, stride_;
  std::uint64_t seed_;
  std::mutex mutex_;
  std::map<int, int> known_;  // of the highest frames asked for
};

}  // namespace seamwright::scheduling
