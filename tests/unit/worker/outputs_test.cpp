// What a job writes beside denoising: all of it after a stop, and an error where it cannot be kept.
#include "worker/outputs.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "base/error.h"
#include "media/video_reader.h"
#include "tests/unit/media/temporary_folder.h"
#include "worker/generate.h"

namespace seamwright::worker {
namespace {

using namespace std::chrono_literals;
using media::code_of;
using media::TemporaryFolder;

constexpr auto kPatience = 120s;

GenerateOptions job_of(int windows) {
  GenerateOptions o;
  o.model_folder = SEAMWRIGHT_FIXTURES "/checkpoints/unet2d_adapter_v3";
  auto& r = o.request;
  r.prompt = "a cat on a hill";
  r.window = 20;
  r.overlap = 4;
  r.frames = 16 * windows + 4;
  r.width = r.height = 64;
  r.steps = 2;
  r.guidance = 1;
  r.seed = 11;
  r.order = "streaming";
  r.resample = 1;
  o.threads = 1;
  return o;
}

TEST(Outputs, FramesAreWrittenBesideDenoising) {
  std::mutex mutex;
  std::condition_variable changed;
  bool first_out = false, denoised_since = false;
  GenerateHooks hooks;
  hooks.task = [&](int, const scheduling::Task& task, auto, auto) {
    const std::lock_guard lock(mutex);
    first_out = first_out || task.kind == scheduling::TaskKind::kEmit;
    denoised_since = denoised_since || (first_out && task.kind == scheduling::TaskKind::kForward);
    changed.notify_all();
  };
  bool beside = true;
  hooks.frames = [&](const DecodedChunk&) {
    std::unique_lock lock(mutex);
    beside =
        changed.wait_for(lock, beside ? kPatience : 0s, [&] { return denoised_since; }) && beside;
  };
  const auto report = generate(job_of(4), hooks).report;
  EXPECT_TRUE(beside) << "denoising waited for the frames before it";
  const auto& seconds = report.at("seconds");
  EXPECT_GT(seconds.at("encode").get<double>(), 0);
  EXPECT_GE(seconds.at("denoise").get<double>(), 0);
  EXPECT_GE(seconds.at("encode_wait").get<double>(), 0);
  const double first = report.at("first_frame_seconds");
  EXPECT_GT(first, 0);
  EXPECT_LT(first, seconds.at("total").get<double>());
}

TEST(Outputs, ProgressCountsTheFramesThatAreWritten) {
  GenerateHooks hooks;
  std::atomic<std::int64_t> written = 0;
  std::int64_t last = 0;
  bool ahead = false, backwards = false;
  hooks.frames = [&](const DecodedChunk& chunk) { written = chunk.first_frame + chunk.count; };
  hooks.progress = [&](const Progress& p) {
    ahead = ahead || p.frames > written;
    backwards = backwards || p.frames < last;
    last = p.frames;
  };
  const auto options = job_of(3);
  const auto result = generate(options, hooks);
  EXPECT_EQ(last, options.request.frames);
  EXPECT_EQ(result.frames, options.request.frames);
  EXPECT_FALSE(ahead);
  EXPECT_FALSE(backwards);
}

TEST(Outputs, AFailedWriteEndsTheJobWithItsError) {
  for (const int groups : {1, 2}) {
    // In the middle, and at the very end.
    for (const std::int64_t at : {16, 64}) {
      auto options = job_of(4);
      options.layout = {groups, 1, false};
      GenerateHooks hooks;
      hooks.frames = [&](const DecodedChunk& chunk) {
        if (chunk.first_frame >= at) fail(ErrorCode::kResource, "the disk is full");
      };
      std::string message;
      EXPECT_EQ(code_of([&] { generate(options, hooks); }, &message), ErrorCode::kResource);
      EXPECT_EQ(message, "the disk is full") << groups << " groups, frame " << at;
    }
  }
}

TEST(Outputs, AStopKeepsWhatWasHandedOver) {
  TemporaryFolder folder;
  auto options = job_of(4);
  options.out = folder / "v.mp4";
  std::atomic<bool> stop = false;
  options.stop = &stop;
  std::int64_t handed_over = 0;
  GenerateHooks hooks;
  hooks.task = [&](int, const scheduling::Task& task, auto, auto) {
    if (task.kind != scheduling::TaskKind::kEmit) return;
    handed_over = task.first_frame + task.frame_count;
    stop = handed_over >= 32;
  };
  const auto result = generate(options, hooks);
  EXPECT_FALSE(result.complete);
  EXPECT_EQ(result.frames, handed_over);
  ASSERT_FALSE(result.video.empty());
  EXPECT_EQ(media::probe_video(result.video).frames, handed_over);
}

// Keeps nothing, and fails to commit the segment that begins at a frame.
class FailingStore final : public DurableStore {
 public:
  FailingStore(std::int64_t at, ErrorCode code) : at_(at), code_(code) {}
  const DurableState& state() const override { return state_; }
  void keep_interval(int) override {}
  comm::Bytes load_record(RecordKey) override { fail(ErrorCode::kInternal, "there are none"); }
  void save_record(RecordKey, comm::Bytes, Acknowledge) override {
    fail(ErrorCode::kInternal, "none are kept");
  }
  void delete_record(RecordKey) override {}
  std::filesystem::path segment_draft(std::int64_t) override { return {}; }
  Segment commit_segment(Segment segment) override {
    if (segment.first_frame == at_) fail(code_, "the store ends at frame {}", at_);
    return segment;
  }
  void note_evaluations(std::int64_t) override {}
  void flush() override {}

 private:
  const std::int64_t at_;
  const ErrorCode code_;
  DurableState state_;
};

GenerateOptions job_with_store(std::int64_t at, ErrorCode code, int groups) {
  auto options = job_of(4);
  options.layout = {groups, 1, false};
  options.checkpoint_steps = 0;
  options.segment_frames = 16;
  options.open_store = [=](const DurableIdentity&) {
    return std::make_unique<FailingStore>(at, code);
  };
  return options;
}

TEST(Outputs, ASegmentThatCannotBeKeptEndsTheJob) {
  for (const int groups : {1, 2}) {
    for (const std::int64_t at : {16, 64}) {
      std::string message;
      EXPECT_EQ(code_of([&] { generate(job_with_store(at, ErrorCode::kResource, groups), {}); },
                        &message),
                ErrorCode::kResource);
      EXPECT_EQ(message, fmt::format("the store ends at frame {}", at)) << groups << " groups";
    }
  }
}

// As when the service cancels an attempt: the store ends first.
TEST(Outputs, AStoreThatAStopEndedEndsTheJobAsAStop) {
  for (const int groups : {1, 2}) {
    for (const std::int64_t at : {16, 64}) {
      const auto result = generate(job_with_store(at, ErrorCode::kCancelled, groups), {});
      EXPECT_FALSE(result.complete) << groups << " groups, segment at " << at;
      EXPECT_EQ(result.durable_frames, at);
    }
  }
}

}  // namespace
}  // namespace seamwright::worker
