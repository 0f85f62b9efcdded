// The engine that walks a rank's tasks and messages: how it ends.
#include "worker/rank_engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <memory>
#include <thread>
#include <vector>

#include "base/error.h"
#include "comm/loopback/loopback.h"
#include "scheduling/planner.h"

namespace seamwright::worker {
namespace {

// Makes everything the plan asks for, but one element too short to be sent.
class TooShort final : public TaskExecutor {
 public:
  explicit TooShort(DataStore& store) : store_(store) {}
  void run(const scheduling::PlannedTask& planned) override {
    TaskOutputs made;
    for (const auto& ref : planned.outputs) {
      auto datum = std::make_shared<Datum>();
      datum->values.resize(static_cast<std::size_t>(ref.bytes) / sizeof(float) - 1);
      made.emplace_back(ref.id, std::move(datum));
    }
    publish(planned, std::move(made), store_);
  }

 private:
  DataStore& store_;
};

// A message that cannot be started will never complete: run() must not wait for it.
TEST(RankEngine, EndsWhenAMessageIsRefusedBeforeItBegins) {
  scheduling::PlanRequest request;
  request.windows.frames = 28;
  request.windows.window = 16;
  request.windows.overlap = 4;
  request.steps = 2;
  const scheduling::Layout layout{2, 1, false};
  auto costs = scheduling::uniform_costs(layout, 1e-3);
  costs.sizes.latent_frame_bytes = 64;
  costs.sizes.output_frame_bytes = 64;
  comm::LoopbackGang gang(2);
  std::vector<int> ended(2, 0);
  const auto member = [&](int rank) {
    scheduling::Planner planner(request, layout, costs);
    DataStore store;
    TooShort runner(store);
    WireContext wire;
    wire.plain = true;
    wire.frame_size = 16;
    RankEngine engine(rank, plan_source(planner), runner, store, wire, &gang.fabric(rank), {});
    try {
      engine.run();
    } catch (const Error&) {
      ended[static_cast<std::size_t>(rank)] = 1;
    }
  };
  std::thread other(member, 1);
  member(0);
  other.join();
  EXPECT_EQ(ended, (std::vector<int>{1, 1}));
}

// Makes what the plan asks for, of the right size.
class Filler final : public TaskExecutor {
 public:
  explicit Filler(DataStore& store) : store_(store) {}
  void run(const scheduling::PlannedTask& planned) override {
    TaskOutputs made;
    for (const auto& ref : planned.outputs) {
      auto datum = std::make_shared<Datum>();
      datum->values.resize(static_cast<std::size_t>(ref.bytes) / sizeof(float));
      made.emplace_back(ref.id, std::move(datum));
    }
    publish(planned, std::move(made), store_);
  }

 private:
  DataStore& store_;
};

// All ranks of a gang run a job; rank 0 stops before its task number `stop_at`. Says for each rank
// whether it did all its tasks.
std::vector<bool> run_gang(comm::LoopbackGang& gang, const scheduling::PlanRequest& request,
                           const scheduling::Layout& layout, std::int64_t stop_at) {
  auto costs = scheduling::uniform_costs(layout, 1e-3);
  costs.sizes.latent_frame_bytes = 64;
  costs.sizes.output_frame_bytes = 64;
  const auto size = static_cast<std::size_t>(layout.ranks());
  std::vector<std::unique_ptr<RankEngine>> engines(size);
  std::vector<char> finished(size, 0);
  std::atomic<bool> stop{stop_at == 0};
  std::barrier made(layout.ranks());
  const auto member = [&](int rank) {
    scheduling::Planner planner(request, layout, costs);
    DataStore store;
    Filler runner(store);
    WireContext wire;
    wire.plain = true;
    wire.frame_size = 16;
    RankEngineHooks hooks;
    if (rank == 0) {
      hooks.stop = &stop;
      hooks.task_done = [&](const scheduling::PlannedTask& task) {
        if (task.position + 1 == stop_at) stop = true;
      };
      hooks.stopped = [&] {
        for (std::size_t other = 1; other < size; ++other) engines[other]->request_stop();
      };
    }
    auto& engine = engines[static_cast<std::size_t>(rank)];
    engine = std::make_unique<RankEngine>(rank, plan_source(planner), runner, store, wire,
                                          &gang.fabric(rank), hooks);
    made.arrive_and_wait();
    try {
      engine->run();
      finished[static_cast<std::size_t>(rank)] = 1;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCancelled) << error.what();
    }
    made.arrive_and_wait();
    engine.reset();
  };
  std::vector<std::thread> threads;
  for (int rank = 1; rank < layout.ranks(); ++rank) threads.emplace_back(member, rank);
  member(0);
  for (auto& thread : threads) thread.join();
  return {finished.begin(), finished.end()};
}

// However many messages are under way: afterwards the same fabric serves the next job.
TEST(RankEngine, AStopLeavesTheRanksReadyForTheNextJob) {
  scheduling::PlanRequest request;
  request.windows.frames = 64;
  request.windows.window = 16;
  request.windows.overlap = 4;
  request.steps = 3;
  for (const auto& layout : {scheduling::Layout{3, 1, false}, scheduling::Layout{1, 3, false},
                             scheduling::Layout{2, 2, false}}) {
    comm::LoopbackGang gang(layout.ranks());
    const std::vector<bool> all(static_cast<std::size_t>(layout.ranks()), true);
    const std::vector<bool> none(static_cast<std::size_t>(layout.ranks()), false);
    for (std::int64_t stop_at = 0; stop_at < 20; ++stop_at) {
      EXPECT_EQ(run_gang(gang, request, layout, stop_at), none) << stop_at;
      EXPECT_EQ(run_gang(gang, request, layout, -1), all) << "after a stop at " << stop_at;
    }
  }
}

}  // namespace
}  // namespace seamwright::worker
