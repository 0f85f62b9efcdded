// Results reach the host when somebody waits for them, in bounded
// pinned memory, whatever order that is in.
#include "model/cuda/readback.h"

#include <gtest/gtest.h>

#include <thread>

#include "model/cuda/backend.h"
#include "tests/unit/cuda/fake_cuda.h"

namespace seamwright::model::cuda {
namespace {

using testing_support::FakeCuda;
using Bytes = std::vector<std::byte>;

class ReadbacksTest : public ::testing::Test {
 protected:
  void TearDown() override {
    readbacks_.reset();
    calls_->destroy_stream(stream_);
    EXPECT_EQ(calls_->pinned_blocks(), 0U);
    EXPECT_EQ(calls_->things_alive(), 0U);
  }
  // Starts to read what the device holds at that moment: so many bytes of `value`.
  std::unique_ptr<Readback> start(Bytes& host, int value) {
    Bytes device(host.size(), std::byte(value));
    auto started = readbacks_->start(device.data(), host);
    std::fill(device.begin(), device.end(), std::byte{0x11});  // used for something else at once
    return started;
  }

  std::shared_ptr<FakeCuda> calls_ = std::make_shared<FakeCuda>();
  Stream stream_ = calls_->create_stream();
  std::unique_ptr<Readbacks> readbacks_ = std::make_unique<Readbacks>(calls_, stream_);
};

TEST_F(ReadbacksTest, DoesNotWaitUntilItIsAskedTo) {
  Bytes host(5000, std::byte{1});
  const auto under_way = start(host, 7);
  EXPECT_EQ(host, Bytes(5000, std::byte{1}));
  under_way->wait();
  EXPECT_EQ(host, Bytes(5000, std::byte{7}));
}

TEST_F(ReadbacksTest, CollectsTheOldestBeforeItTakesItsBuffer) {
  std::vector<Bytes> hosts;
  for (std::size_t i = 0; i < 6; ++i)
    hosts.emplace_back(1000 + i * 600);  // buffers grow on the way
  std::vector<std::unique_ptr<Readback>> under_way;
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    under_way.push_back(start(hosts[i], static_cast<int>(i) + 1));
    EXPECT_LE(calls_->pinned_blocks(), Readbacks::kAtOnce);
  }
  EXPECT_EQ(hosts[3].front(), std::byte{4}) << "its buffer was needed";
  EXPECT_EQ(hosts[5].front(), std::byte{0}) << "nobody waited for it";
  for (std::size_t i = hosts.size(); i-- > 0;) {
    under_way[i]->wait();
    EXPECT_EQ(hosts[i], Bytes(hosts[i].size(), std::byte(i + 1))) << i;
  }
}

TEST_F(ReadbacksTest, LeavesMemoryAloneThatNobodyWaitsForAnyMore) {
  Bytes gone(1000), first(1000), second(1000);
  start(gone, 9).reset();
  start(first, 1)->wait();
  start(second, 2)->wait();
  EXPECT_EQ(gone, Bytes(1000));
  EXPECT_EQ(first, Bytes(1000, std::byte{1}));
  EXPECT_EQ(second, Bytes(1000, std::byte{2}));
}

TEST_F(ReadbacksTest, SaysEveryTimeThatTheDeviceFailed) {
  Bytes host(100, std::byte{1});
  const auto under_way = start(host, 7);
  calls_->device_failed = true;
  for (int i = 0; i < 2; ++i) {
    try {
      under_way->wait();
      ADD_FAILURE() << "waited for a device that failed";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kResource);
    }
  }
  EXPECT_EQ(host, Bytes(100, std::byte{1}));
}

TEST_F(ReadbacksTest, AnotherThreadMayWaitWhileMoreAreStarted) {
  constexpr std::size_t kMany = 200;
  std::vector<Bytes> hosts(kMany, Bytes(300));
  std::vector<std::unique_ptr<Readback>> under_way(kMany);
  std::atomic<std::size_t> started{0};
  std::thread reader([&] {
    for (std::size_t i = 0; i < kMany; ++i) {
      while (started.load() <= i) std::this_thread::yield();
      under_way[i]->wait();
      EXPECT_EQ(hosts[i], Bytes(300, std::byte(i % 100 + 1))) << i;
    }
  });
  for (std::size_t i = 0; i < kMany; ++i) {
    under_way[i] = start(hosts[i], static_cast<int>(i % 100) + 1);
    started = i + 1;
  }
  reader.join();
}

TEST_F(ReadbacksTest, OutlivesWhatItWasStartedFrom) {
  Bytes host(100);
  auto under_way = start(host, 3);
  readbacks_.reset();
  under_way->wait();
  EXPECT_EQ(host, Bytes(100, std::byte{3}));
}

TEST(Readback, HasNoPlaceInACapturedSequence) {
  CudaBackend backend(std::make_shared<FakeCuda>(), CudaOptions{.activation = DType::kF32});
  const Tensor x(backend.memory(), DType::kU8, {10});
  Bytes host(10);
  EXPECT_THROW(backend.capture([&] { backend.read_back(x, host); }), Error);
}

}  // namespace
}  // namespace seamwright::model::cuda
