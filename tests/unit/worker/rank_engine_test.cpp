// The engine that walks a rank's tasks and messages: how it ends.
#include "worker/rank_engine.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace seamwright::worker
