// A job that is interrupted anywhere, and goes on in any layout, gives the bits of one that was
// not.
#include "worker/recovery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/numerics.h"
#include "base/version.h"
#include "tests/unit/media/temporary_folder.h"
#include "worker/gang_job.h"
#include "worker/generate.h"

namespace seamwright::worker {
namespace {

using media::code_of;
using media::TemporaryFolder;
using ::testing::HasSubstr;

struct Case {
  std::string name;
  std::string sampler = "ddim", coherence = "local", schedule = "static", order = "streaming";
  int interval = 1;
  int frames = 35;
  int task = 45;  // where the first attempt is lost
  std::string device = "cpu";
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

GenerateOptions options_of(const Case& c) {
  GenerateOptions o;
  o.model_folder = SEAMWRIGHT_FIXTURES "/checkpoints/unet2d_adapter_v3";
  auto& r = o.request;
  r.prompt = "a cat on a hill";
  r.frames = c.frames;
  r.window = 8;
  r.overlap = 4;
  r.width = r.height = c.device == "reference" ? 32 : 64;
  r.device = c.device;
  r.steps = 4;
  r.guidance = 4;
  r.seed = 11;
  r.order = c.order;
  r.coherence = c.coherence;
  r.sampler = c.sampler;
  r.window_schedule = c.schedule;
  r.context_stride = c.schedule == "static" ? 1 : 2;
  o.threads = 1;
  o.checkpoint_steps = c.interval;
  o.segment_frames = 8;
  return o;
}

std::string undisturbed(const Case& c) {
  static std::map<std::string, std::string> known;
  auto options = options_of(c);
  options.request.order = "throughput";
  auto [at, added] = known.try_emplace(to_gang_job(options));
  if (added) at->second = generate(options, {}).report.at("latents_sha256");
  return at->second;
}

class Interrupted : public ::testing::TestWithParam<Case> {};

// Lost at a task of some rank, in three layouts one after the other, then finished in a fourth.
TEST_P(Interrupted, GoesOnInAnyLayoutWithTheSameBits) {
  const auto& c = GetParam();
  TemporaryFolder folder;
  auto options = options_of(c);
  options.resume = folder / "job";
  struct Attempt {
    scheduling::Layout layout;
    std::string failpoint;
  };
  const std::vector<Attempt> attempts = {
      {{2, 1, false}, fmt::format("error:rank=1:task={}:attempt=1", c.task)},
      {{1, 2, false}, "error:rank=0:task=30:attempt=2"},
      {{1, 3, true}, "error:rank=2:task=10:attempt=3"}};
  for (const auto& attempt : attempts) {
    options.layout = attempt.layout;
    options.failpoint = attempt.failpoint;
    std::string message;
    ASSERT_EQ(code_of([&] { generate(options, {}); }, &message), ErrorCode::kUnavailable);
    EXPECT_THAT(message, HasSubstr("failpoint"));
  }
  options.layout = {};
  options.failpoint.clear();
  const auto result = generate(options, {});
  EXPECT_TRUE(result.complete);
  EXPECT_EQ(result.frames, c.frames);
  EXPECT_EQ(result.report.at("latents_sha256"), undisturbed(c));
  const auto& recovery = result.report.at("recovery");
  EXPECT_EQ(recovery.at("attempt"), 4);
  EXPECT_LT(recovery.at("evaluations_planned").get<int>(),
            recovery.at("evaluations_whole").get<int>());
  EXPECT_EQ(result.report.at("evaluations").get<double>(),
            recovery.at("evaluations_planned").get<double>());
}

INSTANTIATE_TEST_SUITE_P(
    Cover, Interrupted,
    ::testing::Values(Case{"ddim"}, Case{"multistep", "dpm++_2m"}, Case{"stochastic", "euler_a"},
                      Case{"lcm_every_second_step", "lcm", "local", "static", "throughput", 2},
                      Case{"causal", "ddim", "causal"},
                      Case{"causal_multistep", "dpm++_2m", "causal", "static", "throughput"},
                      Case{"causal_stochastic", "euler_a", "causal", "static", "streaming", 2},
                      Case{"uniform_multistep", "dpm++_2m", "local", "uniform", "throughput"},
                      Case{"looped_stochastic", "euler_a", "local", "looped", "throughput", 2, 35,
                           90},
                      Case{"segments_only", "ddim", "local", "static", "streaming", 0, 60, 120}),
    [](const auto& info) { return info.param.name; });

// On the reference backend, for the thread sanitizer: it does not understand OpenMP.
INSTANTIATE_TEST_SUITE_P(Reference, Interrupted,
                         ::testing::Values(Case{"multistep", "dpm++_2m", "local", "static",
                                                "streaming", 1, 24, 20, "reference"},
                                           Case{"causal", "ddim", "causal", "static", "throughput",
                                                1, 24, 20, "reference"}),
                         [](const auto& info) { return info.param.name; });

TEST(Resume, FindsAFinishedJobFinished) {
  TemporaryFolder folder;
  const Case c{"twice"};
  auto options = options_of(c);
  options.resume = folder / "job";
  const auto once = generate(options, {});
  const auto twice = generate(options, {});
  EXPECT_EQ(twice.report.at("evaluations"), 0);
  EXPECT_EQ(twice.report.at("latents_sha256"), once.report.at("latents_sha256"));
}

TEST(Resume, RefusesAnotherRequestAndSaysWhatDiffers) {
  TemporaryFolder folder;
  auto options = options_of({"first"});
  options.request.frames = 8;
  options.resume = folder / "job";
  generate(options, {});
  options.request.seed = 12;
  std::string message;
  EXPECT_EQ(code_of([&] { generate(options, {}); }, &message), ErrorCode::kInvalidArgument);
  EXPECT_THAT(message, HasSubstr("/request/seed: 11 there, 12 now"));
}

TEST(Resume, RefusesOutputsThatCannotBeMadeInPieces) {
  TemporaryFolder folder;
  auto options = options_of({"gif"});
  options.resume = folder / "job";
  options.out = folder / "v.gif";
  EXPECT_EQ(code_of([&] { generate(options, {}); }), ErrorCode::kInvalidArgument);
  options.out.clear();
  options.latents_out = folder / "l.safetensors";
  EXPECT_EQ(code_of([&] { generate(options, {}); }), ErrorCode::kInvalidArgument);
}

TEST(Resume, KeepsFewRecordsOfALongStreamingVideo) {
  TemporaryFolder folder;
  auto options = options_of({"long"});
  options.request.frames = 120;
  options.resume = folder / "job";
  const auto report = generate(options, {}).report;
  std::size_t left = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "job" / "records")) {
    left += entry.path().extension() == ".rec" ? 1 : 0;
  }
  EXPECT_GE(report.at("recovery").at("records_written").get<int>(), 120 * 3);
  EXPECT_LT(left, 100U);
}

TEST(Resume, KeepsTheIntervalOfTheRecordsThatAreThere) {
  DurableState left;
  EXPECT_EQ(interval_beside(left, 3), 3);
  left.checkpoint_interval = 2;
  EXPECT_EQ(interval_beside(left, 3), 2);
  EXPECT_EQ(interval_beside(left, 0), 0);  // no more records: nothing can be missing
}

TEST(Resume, GoesOnlyOnWithWorkOfTheSameNumerics) {
  const auto numerics = numerics_of(*make_backend("cpu", "fp32", 1));
  EXPECT_THAT(numerics, HasSubstr(fmt::format(";revision={};", kNumericsRevision)));
  EXPECT_THAT(numerics, HasSubstr(kVersion));
}

}  // namespace
}  // namespace seamwright::worker
