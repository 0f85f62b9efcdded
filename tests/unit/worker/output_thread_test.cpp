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
#include "tests/unit/media/temporary_folder.h"

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

}  // namespace
}  // namespace seamwright::worker
