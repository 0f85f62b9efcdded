// Streaming order in the real engine: when the first frames come, and what is alive at a time.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "worker/generate.h"

namespace seamwright::worker {
namespace {

constexpr int kSteps = 3;

// What a window leaves final, 16 frames, is what is decoded at a time.
GenerateOptions options_of(int windows, const std::string& coherence) {
  GenerateOptions o;
  o.model_folder = SEAMWRIGHT_FIXTURES "/checkpoints/unet2d_adapter_v3";
  auto& r = o.request;
  r.prompt = "a cat on a hill";
  r.window = 20;
  r.overlap = 4;
  r.frames = 16 * windows + 4;
  r.width = r.height = 64;
  r.steps = kSteps;
  r.guidance = 1;
  r.seed = 11;
  r.order = "streaming";
  r.coherence = coherence;
  r.resample = 1;
  o.threads = 1;
  return o;
}

// Window evaluations that are done when the first frames come out of the tasks; the run then ends.
int evaluations_before_first_frames(GenerateOptions options) {
  std::atomic<bool> stop = false;
  int evaluations = 0, at_first = -1;
  GenerateHooks hooks;
  hooks.task = [&](int, const scheduling::Task& task, auto, auto) {
    evaluations += task.kind == scheduling::TaskKind::kForward ? 1 : 0;
    if (task.kind != scheduling::TaskKind::kEmit) return;
    if (at_first < 0) at_first = evaluations;
    stop = true;
  };
  options.stop = &stop;
  generate(options, hooks);
  return at_first;
}

TEST(Streaming, FirstFramesNeedATriangleOfEvaluations) {
  for (const int windows : {1, 2, 5}) {
    int expected = 0;
    for (int j = 1; j <= kSteps; ++j) expected += std::min(j, windows);
    EXPECT_EQ(evaluations_before_first_frames(options_of(windows, "local")), expected)
        << windows << " windows";
  }
}

TEST(Streaming, FirstFramesNeedOneWindowsEvaluationsInCausalMode) {
  EXPECT_EQ(evaluations_before_first_frames(options_of(5, "causal")), kSteps);
}

// Latents, sampler history, inputs and predictions.
TEST(Streaming, LiveBytesStayBelowThePlansBound) {
  for (const std::string coherence : {"local", "causal"}) {
    auto options = options_of(3, coherence);
    options.request.sampler = "dpm++_2m";
    const auto report = generate(options, {}).report;
    const auto& rank = report.at("ranks").at(0);
    const auto live = rank.at("peak_live_bytes").get<std::int64_t>();
    EXPECT_GT(live, 0);
    EXPECT_LE(live, rank.at("planned_live_bytes").get<std::int64_t>()) << coherence;
  }
}

}  // namespace
}  // namespace seamwright::worker
