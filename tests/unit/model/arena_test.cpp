#include "model/arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "model/dry/dry_backend.h"
#include "model/reference/reference.h"
#include "tests/unit/model/tiny_networks.h"

namespace seamwright::model {
namespace {

using testing_support::FormulaLoad;

bool disjoint(const std::vector<Lifetime>& lives, const ArenaPlan& plan) {
  for (std::size_t i = 0; i < lives.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const bool together = lives[i].begin < lives[j].end && lives[j].begin < lives[i].end;
      const bool apart = plan.offsets[i] + lives[i].bytes <= plan.offsets[j] ||
                         plan.offsets[j] + lives[j].bytes <= plan.offsets[i];
      if (together && !apart) return false;
    }
  }
  return true;
}

// Random nested and crossing lifetimes, as takings and givings back would make them.
std::vector<Lifetime> random_lives(unsigned seed, std::size_t count) {
  std::mt19937 random(seed);
  std::vector<Lifetime> lives;
  std::vector<std::size_t> open;
  for (std::size_t step = 0; lives.size() < count || !open.empty(); ++step) {
    if (lives.size() < count && (open.empty() || random() % 2 == 0)) {
      open.push_back(lives.size());
      lives.push_back({random() % 5000, step, 0});
    } else {
      const std::size_t pick = random() % open.size();
      lives[open[pick]].end = step;
      open.erase(open.begin() + static_cast<std::ptrdiff_t>(pick));
    }
  }
  return lives;
}

TEST(ArenaPlan, NeverOverlapsTensorsAliveTogether) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    const auto lives = random_lives(seed, 120);
    const ArenaPlan plan = plan_arena(lives);
    EXPECT_TRUE(disjoint(lives, plan)) << "seed " << seed;
    for (std::size_t i = 0; i < lives.size(); ++i) {
      EXPECT_EQ(plan.offsets[i] % 64, 0U);
      EXPECT_LE(plan.offsets[i] + lives[i].bytes, plan.bytes);
    }
  }
}

TEST(ArenaPlan, ReusesMemoryOfTheDead) {
  // Two tensors one after the other, and one across both.
  const ArenaPlan plan = plan_arena({{640, 0, 2}, {64, 1, 5}, {640, 3, 4}});
  EXPECT_EQ(plan.bytes, 704U);
  EXPECT_EQ(plan.offsets[0], plan.offsets[2]);
  EXPECT_EQ(peak_bytes({{640, 0, 2}, {64, 1, 5}, {640, 3, 4}}), 704U);
}

class CountingUpstream final : public Allocator {
 public:
  void* allocate(std::size_t bytes) override {
    ++calls;
    in_use += bytes;
    most_in_use = std::max(most_in_use, in_use);
    return heap().allocate(bytes);
  }
  void release(void* data, std::size_t bytes) noexcept override {
    in_use -= bytes;
    heap().release(data, bytes);
  }
  std::size_t calls = 0, in_use = 0, most_in_use = 0;
};

// Twelve layers of one size, then twelve of another: each reads the one before.
void two_levels(Arena& arena) {
  const AllocatorRun run(arena, 0);
  Tensor last(arena, DType::kU8, {3 << 20});
  for (int layer = 0; layer < 24; ++layer) {
    Tensor next(arena, DType::kU8, {(layer < 12 ? 3 : 5) << 20});
    next.view().as<std::uint8_t>()[0] = static_cast<std::uint8_t>(layer);
    last = std::move(next);
  }
}

TEST(Arena, TheFirstRunTakesWhatItGaveBackBeforeNewPages) {
  CountingUpstream upstream;
  {
    Arena arena(upstream, true);
    two_levels(arena);
    EXPECT_EQ(upstream.calls, 4U);   // two of each size
    EXPECT_EQ(upstream.in_use, 0U);  // nothing is kept between runs
    // Kept for the rest of the run is at most what was alive at once.
    EXPECT_LE(upstream.most_in_use, 2 * arena.report().peak_live_bytes);
    two_levels(arena);  // the block
    EXPECT_EQ(upstream.calls, 5U);
    EXPECT_EQ(arena.report().runs_replayed, 1U);
  }
  EXPECT_EQ(upstream.in_use, 0U);
}

TEST(Arena, KeepsNothingOfAPoolThatKeepsItself) {
  CountingUpstream upstream;
  Arena arena(upstream);
  two_levels(arena);
  EXPECT_EQ(upstream.calls, 25U);
}

TEST(Arena, ReplaysTheSameSequenceWithoutUpstream) {
  CountingUpstream upstream;
  {
    Arena arena(upstream);
    const auto evaluate = [&] {
      const AllocatorRun run(arena, 0);
      Tensor a(arena, DType::kF32, {100});
      const Tensor b(arena, DType::kF32, {50});
      a = Tensor(arena, DType::kF32, {70});
      EXPECT_NE(a.view().data, b.view().data);
    };
    evaluate();
    evaluate();  // takes the block
    const std::size_t calls = upstream.calls;
    for (int i = 0; i < 10; ++i) evaluate();
    EXPECT_EQ(upstream.calls, calls);
    EXPECT_EQ(arena.report().runs_recorded, 1U);
    EXPECT_EQ(arena.report().runs_replayed, 11U);
    EXPECT_EQ(arena.report().peak_live_bytes, 880U);
    EXPECT_GE(arena.report().block_bytes, 880U);
  }
  EXPECT_EQ(upstream.in_use, 0U);
}

TEST(Arena, ANewSequenceFallsBackAndIsPlannedAnew) {
  CountingUpstream upstream;
  {
    Arena arena(upstream);
    const auto evaluate = [&](std::int64_t second) {
      const AllocatorRun run(arena, 0);
      Tensor a(arena, DType::kU8, {1000});
      std::memset(a.view().data, 1, 1000);
      Tensor b(arena, DType::kU8, {second});
      std::memset(b.view().data, 2, static_cast<std::size_t>(second));
      EXPECT_EQ(a.view().as<unsigned char>()[999], 1);
    };
    for (std::int64_t size : {100, 100, 3000, 3000, 100, 3000}) evaluate(size);
    EXPECT_EQ(arena.report().runs_recorded, 4U);  // all but the two repetitions
    EXPECT_EQ(arena.report().runs_replayed, 2U);
  }
  EXPECT_EQ(upstream.in_use, 0U);
}

TEST(Arena, GivingBackOutOfTurnNeverSharesLiveMemory) {
  Arena arena(heap());
  const auto evaluate = [&](bool first_dies) {
    const AllocatorRun run(arena, 0);
    Tensor a(arena, DType::kU8, {256}), b(arena, DType::kU8, {256});
    std::memset(a.view().data, 1, 256);
    std::memset(b.view().data, 2, 256);
    (first_dies ? a : b) = Tensor();
    const Tensor c(arena, DType::kU8, {256});
    std::memset(const_cast<void*>(c.view().data), 3, 256);
    const Tensor& survivor = first_dies ? b : a;
    EXPECT_EQ(survivor.view().as<unsigned char>()[100], first_dies ? 2 : 1);
  };
  for (bool first : {true, true, false, true, false, false}) evaluate(first);
}

TEST(Arena, TensorsThatOutliveTheirRunKeepTheirValues) {
  CountingUpstream upstream;
  {
    Arena arena(upstream);
    std::vector<Tensor> kept;
    for (int i = 0; i < 5; ++i) {
      const AllocatorRun run(arena, 0);
      const Tensor scratch(arena, DType::kU8, {500});
      Tensor result(arena, DType::kU8, {64});
      std::memset(result.view().data, i, 64);
      kept.push_back(std::move(result));
    }
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(kept[static_cast<std::size_t>(i)].view().as<unsigned char>()[5], i);
    }
    EXPECT_EQ(arena.report().runs_recorded, 1U);
  }
  EXPECT_EQ(upstream.in_use, 0U);
}

TEST(Arena, ATensorThatUnexpectedlyOutlivesItsRunIsSafe) {
  CountingUpstream upstream;
  {
    Arena arena(upstream);
    Tensor kept;
    for (int i = 0; i < 6; ++i) {
      const AllocatorRun run(arena, 0);
      Tensor t(arena, DType::kU8, {128});
      std::memset(t.view().data, i, 128);
      if (i == 2) kept = std::move(t);
      if (i > 2) {
        EXPECT_EQ(kept.view().as<unsigned char>()[127], 2);
      }
    }
  }
  EXPECT_EQ(upstream.in_use, 0U);
}

TEST(Arena, KeysKeepTheirOwnPlansInOneBlock) {
  CountingUpstream upstream;
  Arena arena(upstream);
  for (int i = 0; i < 4; ++i) {
    for (std::uint64_t key : {1, 2}) {
      const AllocatorRun run(arena, key);
      const Tensor t(arena, DType::kU8, {key == 1 ? 100 : 9000});
    }
  }
  EXPECT_EQ(arena.report().runs_recorded, 2U);
  EXPECT_EQ(arena.report().runs_replayed, 6U);
  EXPECT_EQ(arena.report().block_bytes, 9024U);
}

TEST(Arena, RunsWithinARunBelongToIt) {
  Arena arena(heap());
  for (int i = 0; i < 2; ++i) {
    const AllocatorRun outer(arena, 1);
    const Tensor a(arena, DType::kU8, {100});
    const AllocatorRun inner(arena, 2);
    const Tensor b(arena, DType::kU8, {100});
  }
  EXPECT_EQ(arena.report().runs_recorded, 1U);
  EXPECT_EQ(arena.report().runs_replayed, 1U);
}

TEST(Arena, UNetGivesTheSameResultFromThePlan) {
  const auto backend = make_reference_backend();
  FormulaLoad load(*backend);
  const UNet unet(testing_support::tiny_unet_motion(true), load.context, nullptr);
  Arena arena(heap());
  Exec exec{*backend, arena};
  PromptContext context = testing_support::fixture_context(4);
  Exec plain{*backend, heap()};
  const Tensor sample = ops::upload(plain, testing_support::fixture_input({4, 4, 16, 16}));
  std::vector<double> first;
  for (int i = 0; i < 3; ++i) {
    const Tensor y = unet.predict(exec, sample, {.timestep = 10, .context = &context});
    const auto values = testing_support::values_of(*backend, y);
    if (i == 0) first = values;
    EXPECT_EQ(values, first);
  }
  EXPECT_EQ(arena.report().runs_replayed, 2U);
  EXPECT_LE(arena.report().block_bytes, arena.report().peak_live_bytes * 115 / 100);
}

// What crosses a stage cut outlives its run and is freed by the thread that sent it.
TEST(Arena, TensorsMayBeGivenBackByAnotherThreadWhileItRuns) {
  CountingUpstream upstream;
  {
    Arena arena(upstream);
    std::mutex mutex;
    std::vector<Tensor> sent;
    bool done = false;
    std::thread sender([&] {
      for (bool last = false; !last;) {
        std::vector<Tensor> freed;
        const std::lock_guard lock(mutex);
        freed.swap(sent);
        last = done;
      }
    });
    for (int run = 0; run < 100000; ++run) {
      Tensor outside;
      {
        const AllocatorRun in_run(arena, 1);
        const Tensor inside(arena, DType::kU8, {300});
        outside = Tensor(arena, DType::kU8, {64 + run % 3});
      }
      const std::lock_guard lock(mutex);
      sent.push_back(std::move(outside));
    }
    {
      const std::lock_guard lock(mutex);
      done = true;
    }
    sender.join();
  }
  EXPECT_EQ(upstream.in_use, 0U);
}

}  // namespace
}  // namespace seamwright::model
