// A gang without compute that is lost before each of its tasks in turn: the engine, the mail, the
// keeper and the board, with records that become durable late. Every loss costs a window one step.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "comm/loopback/loopback.h"
#include "scheduling/planner.h"
#include "worker/durability.h"
#include "worker/rank_engine.h"

namespace seamwright::worker {
namespace {

using scheduling::Layout;
using scheduling::PlannedTask;
using scheduling::TaskKind;

constexpr std::size_t kFrameFloats = 16;
constexpr int kWindow = 4;

// What is on its way when the gang is lost never becomes durable.
class LateStore final : public DurableStore {
 public:
  LateStore(DurableState state, std::uint64_t seed) : state_(std::move(state)), random_(seed) {
    for (const auto& key : state_.records) kept_.insert(key);
    thread_ = std::thread([this] { run(); });
  }
  ~LateStore() override {
    lose();
    thread_.join();
  }

  const DurableState& state() const override { return state_; }
  void keep_interval(int) override {}
  comm::Bytes load_record(RecordKey) override { return comm::Bytes(kFrameFloats * sizeof(float)); }
  void save_record(RecordKey key, comm::Bytes, Acknowledge acknowledge) override {
    add({key, std::move(acknowledge)});
  }
  void delete_record(RecordKey key) override { add({key, {}}); }
  std::filesystem::path segment_draft(std::int64_t) override { return {}; }
  Segment commit_segment(Segment segment) override { return segment; }
  void note_evaluations(std::int64_t) override {}
  void flush() override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !busy_ && (lost_ || queue_.empty()); });
  }

  void lose() {
    const std::lock_guard lock(mutex_);
    lost_ = true;
    changed_.notify_all();
  }
  std::set<RecordKey> kept() {
    const std::lock_guard lock(mutex_);
    return kept_;
  }

 private:
  struct Work {
    RecordKey key;
    Acknowledge acknowledge;  // null: delete
  };

  void add(Work work) {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(work));
    changed_.notify_all();
  }

  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return lost_ || !queue_.empty(); });
      if (lost_) return;
      // Some are quick, some wait until others have come.
      if (random_() % 3 == 0) {
        changed_.wait_for(lock, std::chrono::microseconds(random_() % 300),
                          [this] { return lost_; });
        if (lost_) return;
      }
      const Work work = std::move(queue_.front());
      queue_.erase(queue_.begin());
      if (work.acknowledge) {
        kept_.insert(work.key);
      } else {
        kept_.erase(work.key);
      }
      busy_ = true;
      lock.unlock();
      if (work.acknowledge) work.acknowledge(nullptr);
      lock.lock();
      busy_ = false;
      changed_.notify_all();
    }
  }

  DurableState state_;
  std::mt19937_64 random_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Work> queue_;
  std::set<RecordKey> kept_;
  bool busy_ = false, lost_ = false;
  std::thread thread_;
};

// Zeros of the right size; records are sent and asked for as in earnest.
class Zeros final : public TaskExecutor {
 public:
  Zeros(DataStore& store, Durability& durability) : store_(store), durability_(durability) {}
  void run(const PlannedTask& planned) override {
    const auto& task = planned.task;
    TaskOutputs made;
    for (const auto& ref : planned.outputs) {
      auto datum = std::make_shared<Datum>();
      datum->values.resize(static_cast<std::size_t>(ref.bytes) / sizeof(float));
      if (ref.id.kind == scheduling::DataKind::kClean) {
        // The end of the window.
        const auto shared = static_cast<int>(datum->values.size() / kFrameFloats);
        for (int p = kWindow - shared; p < kWindow; ++p) datum->positions.push_back(p);
      }
      made.emplace_back(ref.id, std::move(datum));
      if (task.kind == TaskKind::kSource && task.step > 0) {
        durability_.load({task.window < 0 ? ref.id.at : task.window, task.step});
      }
      if (planned.checkpoint && task.kind == TaskKind::kAdvance) {
        durability_.save({ref.id.at, ref.id.step}, comm::Bytes(kFrameFloats * sizeof(float)));
      }
    }
    if (planned.checkpoint && task.kind == TaskKind::kMix) {
      durability_.save({task.window, task.step + 1}, comm::Bytes(sizeof(float)));
    }
    publish(planned, std::move(made), store_);
  }

 private:
  DataStore& store_;
  Durability& durability_;
};

struct Lost {
  int rank = 0;
  std::int64_t position = -1;  // before this task; none: run to the end
};

struct Left {
  std::set<std::pair<int, int>> done;  // (window, step) of which an evaluation was done
  std::set<RecordKey> records;
  bool complete = false;
  std::string reason;  // why not
};

scheduling::PlanRequest request_of(scheduling::Coherence coherence) {
  scheduling::PlanRequest request;
  request.windows.frames = 10;
  request.windows.window = kWindow;
  request.windows.overlap = 2;
  request.steps = 3;
  request.branches = 2;
  request.coherence = coherence;
  request.checkpoint_interval = 1;
  return request;
}

scheduling::CostTable costs_of(const Layout& layout) {
  auto costs = scheduling::uniform_costs(layout, 1e-3);
  costs.sizes.latent_frame_bytes = kFrameFloats * sizeof(float);
  costs.sizes.output_frame_bytes = 4;
  costs.sizes.cut_bytes.assign(costs.sizes.cut_bytes.size(), 64);
  return costs;
}

Left run_gang(const scheduling::PlanRequest& request, const Layout& layout,
              const std::set<RecordKey>& before, const Lost& lost, std::uint64_t seed) {
  DurableState state;
  state.records.assign(before.begin(), before.end());
  const auto resume = state.resume_state();
  auto store = std::make_unique<LateStore>(state, seed);
  comm::LoopbackGang gang(layout.ranks());
  std::mutex mutex;
  Left left;
  std::atomic<int> ended_well = 0;
  const auto member = [&](int rank) {
    auto& fabric = gang.fabric(rank);
    Durability durability(request, resume, rank == 0 ? store.get() : nullptr, &fabric);
    fabric.set_mail_handler([&](int from, const comm::Bytes& bytes) {
      durability.receive(from, decode_gang_mail(bytes));
    });
    scheduling::Planner planner(request, layout, costs_of(layout), resume);
    DataStore data;
    Zeros runner(data, durability);
    WireContext wire;
    wire.plain = true;
    wire.frame_size = kFrameFloats;
    RankEngineHooks hooks;
    hooks.may_end = [&](const PlannedTask& task) { return durability.allows(task); };
    hooks.failed = [&](const Error& error) { durability.end(error); };
    hooks.task_starts = [&](const PlannedTask& task) {
      if (rank != lost.rank || task.position != lost.position) return;
      store->lose();
      fail(ErrorCode::kUnavailable, "lost on purpose");
    };
    hooks.task_done = [&](const PlannedTask& task) {
      if (task.task.kind != TaskKind::kForward) return;
      const std::lock_guard lock(mutex);
      left.done.insert({task.task.window, task.task.step});
    };
    {
      RankEngine engine(rank, plan_source(planner), runner, data, std::move(wire), &fabric, hooks);
      durability.set_listener([&engine](const Error* error) {
        if (error == nullptr) {
          engine.wake();
        } else {
          engine.end(*error);
        }
      });
      try {
        fabric.barrier();  // the others may be lost as soon as they have passed it
        engine.run();
        fabric.barrier();  // nobody goes while others wait for its mail
        ++ended_well;
      } catch (const Error& error) {
        store->lose();
        const std::lock_guard lock(mutex);
        left.reason = error.what();
      }
      durability.set_listener({});
    }
    fabric.set_mail_handler({});
  };
  std::vector<std::thread> others;
  for (int rank = 1; rank < layout.ranks(); ++rank) others.emplace_back(member, rank);
  member(0);
  for (auto& other : others) other.join();
  left.records = store->kept();
  left.complete = ended_well == layout.ranks();
  return left;
}

// The most steps of one window that the next attempt does although they were done before.
int steps_again(const scheduling::PlanRequest& request, const Left& left) {
  DurableState state;
  state.records.assign(left.records.begin(), left.records.end());
  const auto plan = make_plan(request, {}, costs_of({}), state.resume_state());
  std::map<int, std::set<int>> again;
  for (const auto& planned : plan.ranks[0]) {
    const std::pair<int, int> step{planned.task.window, planned.task.step};
    if (planned.task.kind == TaskKind::kForward && left.done.contains(step)) {
      again[step.first].insert(step.second);
    }
  }
  int most = 0;
  for (const auto& [window, steps] : again) most = std::max(most, static_cast<int>(steps.size()));
  return most;
}

struct LossCase {
  std::string name;
  Layout layout;
  scheduling::Coherence coherence = scheduling::Coherence::kLocal;
};

void PrintTo(const LossCase& c, std::ostream* out) { *out << c.name; }

class Loss : public ::testing::TestWithParam<LossCase> {};

TEST_P(Loss, BeforeAnyTaskCostsAWindowAtMostOneStep) {
  const auto request = request_of(GetParam().coherence);
  const auto& layout = GetParam().layout;
  const auto plan = make_plan(request, layout, costs_of(layout));
  int most = 0;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    const auto tasks = static_cast<std::int64_t>(plan.ranks[static_cast<std::size_t>(rank)].size());
    for (std::int64_t position = 0; position < tasks; ++position) {
      SCOPED_TRACE(fmt::format("rank {} lost before task {}", rank, position));
      const auto seed = static_cast<std::uint64_t>(position * 8 + rank);
      const auto left = run_gang(request, layout, {}, {rank, position}, seed);
      ASSERT_FALSE(left.complete);
      ASSERT_NE(left.reason.find("on purpose"), std::string::npos) << left.reason;
      const int once = steps_again(request, left);
      ASSERT_LE(once, 1);
      most = std::max(most, once);
      // Lost again on the way, in another layout; then finished.
      auto second = run_gang(request, {1, 2, false}, left.records, {1, position % 23}, seed + 1);
      second.done.insert(left.done.begin(), left.done.end());
      ASSERT_LE(steps_again(request, second), 1);
      if (position % 8 != 0) continue;
      const auto last = run_gang(request, layout, second.records, {}, seed + 2);
      EXPECT_TRUE(last.complete) << last.reason;
    }
  }
  EXPECT_EQ(most, 1) << "no loss cost anything: the test sees nothing";
}

INSTANTIATE_TEST_SUITE_P(
    Every, Loss,
    ::testing::Values(LossCase{"two_groups", {2, 1, false}}, LossCase{"two_stages", {1, 2, false}},
                      LossCase{"two_groups_causal", {2, 1, false}, scheduling::Coherence::kCausal}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace seamwright::worker
