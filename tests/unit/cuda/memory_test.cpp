#include "model/cuda/memory.h"

#include <gtest/gtest.h>

#include <cstring>

#include "model/cuda/bounded_cache.h"
#include "tests/unit/cuda/fake_cuda.h"

namespace seamwright::model::cuda {
namespace {

using testing_support::FakeCuda;

TEST(DevicePool, SizesRepeatAndWasteAtMostAnEighth) {
  for (std::size_t bytes : {1UL, 511UL, 512UL, 513UL, 5000UL, 1000001UL, 123456789UL}) {
    const std::size_t size = DevicePool::size_class(bytes);
    EXPECT_GE(size, bytes);
    EXPECT_LE(size, std::max<std::size_t>(bytes + bytes / 8 + 512, 512)) << bytes;
    EXPECT_EQ(size, DevicePool::size_class(size)) << bytes;
  }
}

TEST(DevicePool, HandsOutAgainWhatWasGivenBack) {
  const auto calls = std::make_shared<FakeCuda>();
  DevicePool pool(calls);
  void* first = pool.allocate(100000);
  pool.release(first, 100000);
  EXPECT_EQ(pool.allocate(100000), first);
  void* second = pool.allocate(100000);
  EXPECT_NE(second, first);
  EXPECT_EQ(pool.report().in_use_bytes, 2 * DevicePool::size_class(100000));
  EXPECT_EQ(calls->device_blocks(), 2U);
  pool.release(first, 100000);
  pool.release(second, 100000);
  EXPECT_EQ(pool.report().in_use_bytes, 0U);
}

TEST(DevicePool, FreesWhatItKeepsBeforeItFails) {
  const auto calls = std::make_shared<FakeCuda>();
  calls->device_bytes_left = std::size_t{3} << 20;
  DevicePool pool(calls);
  pool.release(pool.allocate(std::size_t{2} << 20), std::size_t{2} << 20);
  void* large = pool.allocate(std::size_t{3} << 20);  // does not fit beside what is kept
  EXPECT_NE(large, nullptr);
  EXPECT_THROW(pool.allocate(std::size_t{1} << 20), Error);
  pool.release(large, std::size_t{3} << 20);
}

TEST(DevicePool, ReturnsEverythingToTheDevice) {
  const auto calls = std::make_shared<FakeCuda>();
  {
    DevicePool pool(calls);
    pool.release(pool.allocate(1000), 1000);
    EXPECT_EQ(calls->device_blocks(), 1U);
  }
  EXPECT_EQ(calls->device_blocks(), 0U);
}

TEST(PinnedRing, NeverHandsOutMemoryThatACopyMayStillRead) {
  const auto calls = std::make_shared<FakeCuda>();
  const Stream stream = calls->create_stream();
  std::vector<std::byte> device(4096);
  {
    PinnedRing ring(calls, stream);
    for (int i = 0; i < 40; ++i) {
      const std::size_t bytes = 64 + static_cast<std::size_t>(i) * 64;
      const auto slot = ring.next(bytes);
      ASSERT_FALSE(calls->may_be_read(slot.data())) << "copy " << i;
      std::memset(slot.data(), i, bytes);
      ring.send(bytes, device.data());
      ASSERT_TRUE(calls->may_be_read(slot.data()));
      ASSERT_EQ(device[bytes - 1], std::byte(i));
    }
    EXPECT_THROW(ring.next(PinnedRing::kSlotBytes + 1), Error);
  }
  EXPECT_EQ(calls->pinned_blocks(), 0U);
  calls->destroy_stream(stream);
  EXPECT_EQ(calls->things_alive(), 0U);
}

TEST(BoundedCache, ForgetsWhatWasNotAskedForTheLongest) {
  BoundedCache<int, int> cache(2);
  cache.put(1, 10);
  cache.put(2, 20);
  ASSERT_NE(cache.find(1), nullptr);  // now 2 is the oldest
  cache.put(3, 30);
  EXPECT_EQ(cache.find(2), nullptr);
  ASSERT_NE(cache.find(1), nullptr);
  EXPECT_EQ(*cache.find(3), 30);
  cache.put(3, 31);
  EXPECT_EQ(*cache.find(3), 31);
  EXPECT_EQ(cache.size(), 2U);
}

}  // namespace
}  // namespace seamwright::model::cuda
