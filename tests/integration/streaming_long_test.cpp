// Length costs no memory: the peak of a long video, and an endless one that is flat for as long as
// it is watched.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <fstream>
#include <string>

#include "worker/generate.h"

namespace seamwright {
namespace {

worker::GenerateOptions options_of(int frames) {
  worker::GenerateOptions o;
  o.model_folder = SEAMWRIGHT_FIXTURES "/checkpoints/unetmotion3";
  auto& r = o.request;
  r.prompt = "a red circle";
  r.frames = frames;
  r.window = 8;
  r.overlap = 2;
  r.width = r.height = 64;
  r.steps = 2;
  r.guidance = 1;
  r.seed = 11;
  r.order = "streaming";
  o.threads = 1;
  return o;
}

// Of this process, now.
std::int64_t resident_bytes() {
  std::int64_t total = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

// What a service plans for a video without an end, cancelled after 10,000 frames.
TEST(Streaming, AnEndlessRunIsFlat) {
  for (const std::string coherence : {"local", "causal"}) {
    auto options = options_of(1'000'000);
    options.request.coherence = coherence;
    std::atomic<bool> stop = false;
    std::int64_t frames = 0, early = 0, late = 0;
    worker::GenerateHooks hooks;
    hooks.frames = [&](const worker::DecodedChunk& chunk) {
      frames = chunk.first_frame + chunk.count;
      const auto now = resident_bytes();
      if (frames > 500 && frames <= 1500) early = std::max(early, now);
      if (frames > 9000) late = std::max(late, now);
      if (frames >= 10'000) stop = true;
    };
    options.stop = &stop;
    EXPECT_FALSE(generate(options, hooks).complete);
    EXPECT_GE(frames, 10'000);
    RecordProperty(coherence + "_bytes_at_1000", static_cast<int>(early));
    RecordProperty(coherence + "_bytes_at_10000", static_cast<int>(late));
    EXPECT_GT(early, 0);
    EXPECT_LT(static_cast<double>(late), 1.02 * static_cast<double>(early)) << coherence;
  }
}

}  // namespace
}  // namespace seamwright
