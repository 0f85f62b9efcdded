// Frames are written beside denoising, in order, within bounds, and a failure comes back.
#include "worker/output_thread.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "media/video_reader.h"
#include "tests/unit/media/temporary_folder.h"
#include "worker/generate.h"

namespace seamwright::worker {
namespace {

using namespace std::chrono_literals;
using media::code_of;
using media::TemporaryFolder;
using ::testing::ElementsAre;

constexpr auto kPatience = 120s;

// A chunk of one frame whose bytes all say its number.
DecodedChunk chunk_of(int frame, std::size_t bytes = 100) {
  const auto pixels =
      std::make_shared<std::vector<std::uint8_t>>(bytes, static_cast<std::uint8_t>(frame));
  return {frame, 1, {}, *pixels, {}, pixels, {}};
}

// A writer that writes what it is allowed to.
class Gate {
 public:
  void allow(int chunks) {
    const std::lock_guard lock(mutex_);
    allowed_ += chunks;
    changed_.notify_all();
  }
  // Counts as begun at once, and ends once it is allowed.
  void write(const DecodedChunk& chunk) {
    std::unique_lock lock(mutex_);
    EXPECT_EQ(chunk.pixels.front(), chunk.first_frame)
        << "the pixels went before they were written";
    ++begun_;
    changed_.notify_all();
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [this] { return allowed_ > 0; }));
    --allowed_;
    written_.push_back(chunk.first_frame);
  }
  void wait_begun(int chunks) {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, kPatience, [&] { return begun_ >= chunks; }));
  }
  std::vector<std::int64_t> written() {
    const std::lock_guard lock(mutex_);
    return written_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int allowed_ = 0, begun_ = 0;
  std::vector<std::int64_t> written_;
};

TEST(OutputThread, WaitsForPixelsToArriveBeforeItWritesThem) {
  std::vector<std::string> events;
  const auto caller = std::this_thread::get_id();
  OutputThread thread([&](const DecodedChunk& chunk) {
    events.push_back(fmt::format("wrote {}", chunk.first_frame));
  });
  for (int i = 0; i < 3; ++i) {
    auto chunk = chunk_of(i);
    if (i != 1) {
      chunk.arrive = [&, i] {
        EXPECT_NE(std::this_thread::get_id(), caller);
        events.push_back(fmt::format("arrived {}", i));
      };
    }
    thread.add(std::move(chunk));
  }
  thread.drain();
  EXPECT_THAT(events, ElementsAre("arrived 0", "wrote 0", "wrote 1", "arrived 2", "wrote 2"));
  EXPECT_GE(thread.arrival_seconds(), 0);
}

TEST(OutputThread, TellsThatPixelsDidNotArrive) {
  int written = 0;
  OutputThread thread([&](const DecodedChunk&) { ++written; });
  auto chunk = chunk_of(0);
  chunk.arrive = [] { fail(ErrorCode::kResource, "the device failed"); };
  thread.add(std::move(chunk));
  EXPECT_EQ(code_of([&] { thread.drain(); }), ErrorCode::kResource);
  EXPECT_EQ(written, 0);
}

TEST(OutputThread, WritesInOrderWhatIsAdded) {
  std::vector<std::int64_t> written;
  OutputThread thread([&](const DecodedChunk& chunk) { written.push_back(chunk.first_frame); });
  for (int i = 0; i < 200; ++i) thread.add(chunk_of(i));
  thread.drain();
  ASSERT_EQ(written.size(), 200U);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(written[static_cast<std::size_t>(i)], i);
  thread.add(chunk_of(200));  // goes on after a drain
  thread.drain();
  EXPECT_EQ(written.back(), 200);
}

TEST(OutputThread, AddReturnsBeforeTheChunkIsWritten) {
  Gate gate;
  OutputThread thread([&](const DecodedChunk& chunk) { gate.write(chunk); });
  thread.add(chunk_of(1));
  thread.add(chunk_of(2));
  gate.wait_begun(1);
  EXPECT_THAT(gate.written(), ElementsAre());
  gate.allow(2);
  thread.drain();
  EXPECT_THAT(gate.written(), ElementsAre(1, 2));
}

// How many chunks go in before the adding thread has to wait, with a writer that writes nothing
// yet.
int taken_at_once(OutputThread::Limits limits, std::size_t chunk_bytes, int expected) {
  Gate gate;
  OutputThread thread([&](const DecodedChunk& chunk) { gate.write(chunk); }, limits);
  std::atomic<int> added = 0;
  std::thread adds([&] {
    for (int i = 0; i < 10; ++i) {
      thread.add(chunk_of(i, chunk_bytes));
      ++added;
    }
    thread.drain();
  });
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (added < expected && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(1ms);
  }
  std::this_thread::sleep_for(50ms);  // more would go in meanwhile, were there room
  const int taken = added;
  gate.allow(10);
  adds.join();
  EXPECT_EQ(gate.written().size(), 10U);
  return taken;
}

TEST(OutputThread, ASlowWriterHoldsTheAddingThread) {
  EXPECT_EQ(taken_at_once({.chunks = 4, .bytes = 1000}, 100, 4), 4);
  EXPECT_EQ(taken_at_once({.chunks = 4, .bytes = 350}, 100, 3), 3);
  EXPECT_EQ(taken_at_once({.chunks = 4, .bytes = 10}, 100, 2), 2);  // two always may be
}

TEST(OutputThread, CountsTheSecondsOfWriting) {
  OutputThread thread([](const DecodedChunk&) { std::this_thread::sleep_for(20ms); });
  for (int i = 0; i < 5; ++i) thread.add(chunk_of(i));
  thread.drain();
  EXPECT_GE(thread.busy_seconds(), 0.1);
}

TEST(OutputThread, AFailureComesBackAsItWas) {
  OutputThread thread([](const DecodedChunk& chunk) {
    if (chunk.first_frame == 2) fail(ErrorCode::kResource, "no room for frame 2 on the disk");
    EXPECT_LT(chunk.first_frame, 2) << "written after a failure";
  });
  std::string by_add, by_drain;
  // The queue is bounded, so one of these adds comes after the failure.
  EXPECT_EQ(code_of(
                [&] {
                  for (int i = 0; i < 100; ++i) thread.add(chunk_of(i));
                },
                &by_add),
            ErrorCode::kResource);
  EXPECT_EQ(code_of([&] { thread.drain(); }, &by_drain), ErrorCode::kResource);
  EXPECT_EQ(by_add, "no room for frame 2 on the disk");
  EXPECT_EQ(by_drain, by_add);
  EXPECT_EQ(code_of([&] { thread.add(chunk_of(0)); }), ErrorCode::kResource);
}

TEST(OutputThread, AFailureOfTheLastChunkComesBackFromDrain) {
  OutputThread thread([](const DecodedChunk&) { throw std::runtime_error("out of luck"); });
  thread.add(chunk_of(0));
  EXPECT_THROW(thread.drain(), std::runtime_error);
}

TEST(OutputThread, AFailureWakesWhoeverWaitsForRoom) {
  Gate gate;
  OutputThread thread([&](const DecodedChunk& chunk) {
    gate.write(chunk);
    fail(ErrorCode::kIo, "not writable");
  });
  std::thread lets([&] {
    gate.wait_begun(1);
    gate.allow(1);
  });
  EXPECT_EQ(code_of([&] {
              for (int i = 0; i < 10; ++i) thread.add(chunk_of(i));
            }),
            ErrorCode::kIo);
  lets.join();
}

TEST(OutputThread, DestructionDropsWhatWaits) {
  Gate gate;
  std::weak_ptr<const void> waiting;
  std::thread lets;
  {
    OutputThread thread([&](const DecodedChunk& chunk) { gate.write(chunk); });
    for (int i = 0; i < 4; ++i) {
      auto chunk = chunk_of(i);
      waiting = chunk.owner;
      thread.add(std::move(chunk));
    }
    gate.wait_begun(1);
    lets = std::thread([&] {
      for (int i = 0; i < 4; ++i) {
        std::this_thread::sleep_for(200ms);  // before the first, the destructor has begun
        gate.allow(1);
      }
    });
  }
  lets.join();
  EXPECT_GE(gate.written().size(), 1U);
  EXPECT_LT(gate.written().size(), 4U);
  EXPECT_TRUE(waiting.expired());
}

TEST(OutputThread, SaysThatADrainGetsOn) {
  std::atomic<int> told = 0;
  std::atomic<bool> drains = false;
  const auto wait = [](const auto& condition, std::chrono::seconds patience) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!condition() && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(1ms);
    }
  };
  OutputThread thread([&](const DecodedChunk& chunk) {
    if (chunk.first_frame == 0) wait([&] { return drains.load(); }, kPatience);
    if (chunk.first_frame == 1) wait([&] { return told > 0; }, 5s);
  });
  thread.add(chunk_of(0));
  thread.add(chunk_of(1));
  drains = true;
  thread.drain([&] { ++told; });
  EXPECT_GE(told, 1);
  EXPECT_LE(told, 2);
}

TEST(OutputThread, RefusesWhatNobodyKeeps) {
  OutputThread thread([](const DecodedChunk&) {});
  auto chunk = chunk_of(0);
  const auto owner = std::exchange(chunk.owner, nullptr);
  EXPECT_EQ(code_of([&] { thread.add(chunk); }), ErrorCode::kInternal);
}

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
