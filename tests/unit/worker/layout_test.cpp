// The crown jewels: any layout, thread count and order gives the bits of one rank.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "base/error.h"
#include "worker/gang_job.h"
#include "worker/generate.h"

namespace seamwright::worker {
namespace {

struct LayoutCase {
  std::string name;
  scheduling::Layout layout;
  int threads = 1;
  std::string order = "throughput", coherence = "local", schedule = "static", sampler = "ddim";
  std::string precision = "fp32";
  int frames = 43, window = 8, overlap = 4;
  std::string device = "cpu";
};

GenerateOptions options_of(const LayoutCase& run) {
  GenerateOptions o;
  o.model_folder = SEAMWRIGHT_FIXTURES "/checkpoints/unet2d_adapter_v3";
  auto& r = o.request;
  r.prompt = "a cat on a hill";
  r.frames = run.frames;
  r.window = run.window;
  r.overlap = run.overlap;
  const bool slow = run.device == "reference";
  r.width = r.height = slow ? 32 : 64;
  r.steps = slow ? 2 : 3;
  r.guidance = 4;
  r.seed = 11;
  r.order = run.order;
  r.coherence = run.coherence;
  r.window_schedule = run.schedule;
  r.context_stride = run.schedule == "static" ? 1 : 2;
  r.sampler = run.sampler;
  r.precision = run.precision;
  r.device = run.device;
  o.layout = run.layout;
  o.threads = run.threads;
  return o;
}

// The hash of the same request on one rank with one thread, computed once per request.
std::string alone(LayoutCase run) {
  static std::map<std::string, std::string> known;
  run.layout = {};
  run.threads = 1;
  auto options = options_of(run);
  options.request.order = "throughput";
  const auto key = to_gang_job(options);
  auto [at, added] = known.try_emplace(key);
  if (added) at->second = generate(options, {}).report.at("latents_sha256");
  return at->second;
}

class Layouts : public ::testing::TestWithParam<LayoutCase> {};

TEST_P(Layouts, GiveTheBitsOfOneRank) {
  const LayoutCase& run = GetParam();
  const auto result = generate(options_of(run), {});
  EXPECT_TRUE(result.complete);
  EXPECT_EQ(result.frames, run.frames);
  EXPECT_EQ(result.report.at("latents_sha256"), alone(run));
  // Every rank planned the same, and works; rank 0 does not do it all.
  std::int64_t forwards = 0;
  for (const auto& rank : result.report.at("ranks")) {
    EXPECT_EQ(rank.at("plan_hash"), result.report.at("ranks").at(0).at("plan_hash"));
    EXPECT_LE(rank.at("peak_live_bytes").get<std::int64_t>(),
              rank.at("planned_live_bytes").get<std::int64_t>());
    forwards += rank.at("forwards").get<std::int64_t>();
  }
  EXPECT_EQ(result.report.at("ranks").size(), static_cast<std::size_t>(run.layout.ranks()));
  EXPECT_EQ(forwards, result.report.at("evaluations").get<double>() * run.layout.visits());
}

// Every pair of settings occurs; all combinations are in the long run.
INSTANTIATE_TEST_SUITE_P(
    Cover, Layouts,
    ::testing::Values(
        LayoutCase{"two_groups", {2, 1, false}},
        LayoutCase{
            "two_groups_streaming", {2, 1, false}, 2, "streaming", "local", "static", "euler_a"},
        LayoutCase{
            "two_groups_causal", {2, 1, false}, 1, "streaming", "causal", "static", "dpm++_2m"},
        LayoutCase{
            "two_groups_uniform", {2, 1, false}, 2, "throughput", "local", "uniform", "euler_a"},
        LayoutCase{"two_groups_looped_bf16",
                   {2, 1, false},
                   1,
                   "throughput",
                   "local",
                   "looped",
                   "ddim",
                   "bf16"},
        LayoutCase{"two_stages", {1, 2, false}, 1, "streaming", "local", "static", "dpm++_2m"},
        LayoutCase{"two_stages_causal_bf16",
                   {1, 2, false},
                   2,
                   "throughput",
                   "causal",
                   "static",
                   "euler_a",
                   "bf16"},
        LayoutCase{"two_by_two", {2, 2, false}, 1, "throughput", "local", "static", "euler_a"},
        LayoutCase{"two_by_two_bf16",
                   {2, 2, false},
                   2,
                   "streaming",
                   "local",
                   "static",
                   "dpm++_2m",
                   "bf16"},
        LayoutCase{"four_groups", {4, 1, false}, 1, "throughput", "local", "uniform", "dpm++_2m"},
        LayoutCase{"four_groups_causal", {4, 1, false}, 1, "streaming", "causal", "static", "ddim"},
        LayoutCase{"four_stages", {1, 4, false}, 1, "throughput", "local", "looped", "dpm++_2m"},
        LayoutCase{
            "three_by_two", {3, 2, false}, 1, "streaming", "local", "static", "ddim", "bf16"},
        LayoutCase{"folded", {1, 3, true}, 1, "throughput", "local", "static", "euler_a"},
        LayoutCase{"folded_streaming_bf16",
                   {1, 3, true},
                   2,
                   "streaming",
                   "causal",
                   "static",
                   "dpm++_2m",
                   "bf16"},
        LayoutCase{"more_groups_than_windows",
                   {4, 1, false},
                   1,
                   "throughput",
                   "local",
                   "static",
                   "ddim",
                   "fp32",
                   10},
        LayoutCase{
            "one_window", {2, 2, false}, 1, "throughput", "local", "static", "euler_a", "fp32", 8},
        LayoutCase{
            "one_frame", {2, 1, false}, 1, "streaming", "local", "static", "ddim", "fp32", 1},
        LayoutCase{"three_windows_over_a_frame",
                   {3, 1, false},
                   1,
                   "throughput",
                   "local",
                   "static",
                   "dpm++_2m",
                   "fp32",
                   29,
                   8,
                   6}),
    [](const auto& info) { return info.param.name; });

// On the reference backend, which starts no threads of its own: what the thread sanitizer runs,
// since it does not understand OpenMP.
LayoutCase on_reference(std::string name, scheduling::Layout layout, std::string order,
                        std::string coherence) {
  LayoutCase run{std::move(name), layout, 1, std::move(order), std::move(coherence)};
  run.frames = 16;
  run.device = "reference";
  return run;
}

INSTANTIATE_TEST_SUITE_P(
    Reference, Layouts,
    ::testing::Values(on_reference("two_groups", {2, 1, false}, "streaming", "local"),
                      on_reference("two_groups_causal", {2, 1, false}, "throughput", "causal"),
                      on_reference("two_by_two", {2, 2, false}, "throughput", "local"),
                      on_reference("folded", {1, 3, true}, "streaming", "local")),
    [](const auto& info) { return info.param.name; });

TEST(Generate, OtherSeedsGiveOtherVideos) {
  auto options = options_of({});
  const auto first = generate(options, {}).report.at("latents_sha256");
  options.request.seed = 12;
  EXPECT_NE(generate(options, {}).report.at("latents_sha256"), first);
}

TEST(Generate, RefusesALayoutWithMoreStagesThanBlocks) {
  auto options = options_of({});
  options.layout = {1, 64, false};
  EXPECT_THROW(generate(options, {}), Error);
}

TEST(GangJob, SurvivesItsText) {
  auto options = options_of({});
  options.out = "/tmp/video.mp4";
  options.latents_out = "/tmp/latents.safetensors";
  options.layout = {2, 3, true};
  const auto text = to_gang_job(options);
  EXPECT_EQ(to_gang_job(parse_gang_job(text)), text);
  EXPECT_THROW(parse_gang_job("{}"), Error);
  EXPECT_THROW(parse_gang_job("not json"), Error);
}

TEST(Generate, TakesFreeNoiseWithShortWindows) {
  for (const int window : {1, 2, 3}) {
    LayoutCase run{.name = "", .layout = {}, .frames = 5, .window = window, .overlap = window / 2};
    auto options = options_of(run);
    options.request.noise = "freenoise";
    options.request.steps = 1;
    options.request.width = options.request.height = 32;
    EXPECT_EQ(generate(options, {}).frames, 5);
  }
}

TEST(Generate, AStopOfThreadsIsNoError) {
  LayoutCase run{.name = "", .layout = {2, 2, false}};
  for (int at = 1; at <= 16; at += 5) {
    auto options = options_of(run);
    std::atomic<bool> stop = false;
    options.stop = &stop;
    GenerateHooks hooks;
    std::atomic<int> done = 0;
    hooks.task = [&](int, const scheduling::Task&, auto, auto) {
      if (++done == at) stop = true;
    };
    const auto result = generate(options, hooks);
    EXPECT_FALSE(result.complete);
    EXPECT_FALSE(result.report.is_null());
  }
}

}  // namespace
}  // namespace seamwright::worker
