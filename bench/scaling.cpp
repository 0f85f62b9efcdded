#include "bench/scaling.h"

#include <fmt/core.h>
#include <malloc.h>
#include <sys/prctl.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"
#include "bench/emulated_runner.h"
#include "comm/loopback/loopback.h"
#include "scheduling/measured_costs.h"
#include "scheduling/planner.h"
#include "scheduling/simulator.h"
#include "scheduling/walk.h"
#include "worker/cost_measurement.h"
#include "worker/rank_engine.h"

namespace seamwright::bench {
namespace {

using Clock = EmulatedRunner::Clock;
using Json = nlohmann::json;
using scheduling::CostTable;
using scheduling::PlanRequest;

constexpr int kWindow = 16, kOverlap = 4;
constexpr std::int64_t kCutBytes = 1 << 20;  // a stage cut of the demo model
constexpr std::int64_t kPictureBytes = 64;   // frames are not emulated, only counted

PlanRequest plan_of(const ScalingCase& run) {
  PlanRequest plan;
  const int windows = run.windows_per_group * run.layout.groups;
  plan.windows.frames = kWindow + (windows - 1) * (kWindow - kOverlap);
  plan.windows.window = kWindow;
  plan.windows.overlap = kOverlap;
  plan.steps = run.steps;
  plan.branches = run.branches;
  plan.order = run.order;
  return plan;
}

// What every visit takes on a rank; those that it does not make stand beside them.
std::vector<double> visit_seconds(const ScalingCase& run, int rank) {
  return scheduling::uniform_costs(run.layout,
                                   std::max(run.forward_ms, 0.0) * 1e-3 / run.speed(rank))
      .visit_s;
}

// As a worker before its job: this rank's visits, each asleep for what it takes.
std::vector<double> measure_visits(const ScalingCase& run, int rank) {
  const auto seconds = visit_seconds(run, rank);
  std::vector<double> measured;
  for (int v = 0; v < run.layout.visits(); ++v) {
    if (run.layout.stage_of_visit(v) != rank % run.layout.stages) continue;
    const auto begin = Clock::now();
    std::this_thread::sleep_for(
        std::chrono::duration<double>(seconds[static_cast<std::size_t>(v)]));
    measured.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
  }
  return measured;
}

// `measured` by rank, or empty.
CostTable costs_of(const ScalingCase& run, const scheduling::MeasuredVisits& measured) {
  // Planned with a time that is not zero: the order of tasks should be that of the emulated run.
  CostTable costs =
      scheduling::uniform_costs(run.layout, (run.forward_ms > 0 ? run.forward_ms : 50) * 1e-3);
  if (!measured.empty()) scheduling::apply_measured(measured, run.layout, costs);
  costs.sizes.latent_frame_bytes = std::int64_t{4} * 64 * 64 * 4;  // 512x512
  costs.sizes.output_frame_bytes = kPictureBytes;
  for (auto& bytes : costs.sizes.cut_bytes) bytes = kCutBytes;
  return costs;
}

// A megabyte that is taken and given back with every task should not go through the kernel each
// time.
void keep_memory() {
  constexpr int kMost = 32 << 20;  // that malloc takes as a threshold
  ensure(mallopt(M_MMAP_THRESHOLD, kMost) == 1 && mallopt(M_TRIM_THRESHOLD, 1 << 30) == 1,
         "malloc refuses its thresholds");
}

// What one rank saw.
Json rank_outcome(const EmulatedRunner& runner, const worker::RankEngine& engine,
                  const worker::DataStore& store, Clock::time_point start) {
  const auto since = [&](Clock::time_point at) {
    return std::chrono::duration<double>(at - start).count();
  };
  return {{"end_s", since(Clock::now())},
          {"first_output_s", since(runner.first_output())},
          {"busy_s", runner.busy_seconds()},
          {"late_s", runner.late_seconds()},
          {"forwards", runner.forwards()},
          {"tasks", engine.tasks()},
          {"bytes_sent", engine.bytes_sent()},
          {"messages_sent", engine.messages_sent()},
          {"back_to_back_tasks", engine.runtime_cost().tasks},
          {"runtime_cost_s", engine.runtime_cost().seconds},
          {"peak_live_bytes", store.peak_bytes()},
          {"hash", runner.hash()}};
}

// When a rank's tasks ran.
class Spans {
 public:
  void add(const scheduling::Task& task, Clock::time_point begin, Clock::time_point end) {
    spans_.push_back({task, begin, end});
  }
  // [kind, window, step, chunk, begin, end], the last two in microseconds since `start`.
  Json to_json(Clock::time_point start) const {
    const auto since = [&](Clock::time_point at) {
      return std::chrono::duration_cast<std::chrono::microseconds>(at - start).count();
    };
    Json all = Json::array();
    for (const auto& [task, begin, end] : spans_) {
      all.push_back({scheduling::to_string(task.kind), task.window, task.step, task.chunk,
                     since(begin), since(end)});
    }
    return all;
  }

 private:
  struct Span {
    scheduling::Task task;
    Clock::time_point begin, end;
  };
  std::vector<Span> spans_;
};

Json run_once(const ScalingCase& run, int rank, const PlanRequest& plan, const CostTable& costs,
              worker::PlanSource source, const std::shared_ptr<worker::DatumPool>& pool,
              comm::Fabric* fabric) {
  worker::DataStore store;
  CostTable times = costs;
  times.visit_s = visit_seconds(run, rank);
  EmulatedRunner runner(plan, times, {run.jitter, run.seed}, store, pool);
  worker::WireContext wire;
  wire.plain = true;
  wire.frame_size = static_cast<std::size_t>(costs.sizes.latent_frame_bytes) / sizeof(float);
  Spans spans;
  worker::RankEngineHooks hooks;
  if (run.spans) {
    hooks.task_timed = [&spans](const scheduling::PlannedTask& planned, auto begin, auto end) {
      spans.add(planned.task, begin, end);
    };
  }
  worker::RankEngine engine(rank, std::move(source), runner, store, wire, fabric, hooks);
  if (fabric != nullptr) fabric->barrier();
  const auto start = Clock::now();
  engine.run();
  auto outcome = rank_outcome(runner, engine, store, start);
  if (run.spans) outcome["spans"] = spans.to_json(start);
  return outcome;
}

double sum(const Json& ranks, const char* key) {
  double total = 0;
  for (const auto& rank : ranks) total += rank.at(key).get<double>();
  return total;
}

// The plan of a whole case, made once, by rank.
struct SharedPlan {
  std::vector<std::vector<scheduling::PlanChunk>> chunks;
  std::vector<std::int64_t> live_bytes_max;
  SharedPlan(const PlanRequest& request, const ScalingCase& run, const CostTable& costs)
      : chunks(static_cast<std::size_t>(run.layout.ranks())) {
    scheduling::Planner planner(request, run.layout, costs);
    while (!planner.done()) {
      const auto whole = planner.next_chunk();
      for (std::size_t rank = 0; rank < chunks.size(); ++rank) {
        auto own = scheduling::for_rank(whole, static_cast<int>(rank));
        chunks[rank].push_back({std::move(own.tasks), std::move(own.messages)});
      }
    }
    live_bytes_max = planner.live_bytes_max();
  }
  // Once for each rank: its share is handed over.
  worker::PlanSource source(int rank) {
    return [&own = chunks[static_cast<std::size_t>(rank)],
            next = std::size_t{0}](scheduling::PlanChunk& chunk) mutable {
      if (next == own.size()) return false;
      chunk = std::move(own[next++]);
      return true;
    };
  }
};

// What a gang of one case needs: the plan of the case, and of its first two steps, in which memory
// is touched for the first time, as a gang that has loaded its weights has done.
struct Prepared {
  PlanRequest plan, brief_plan;
  CostTable costs;
  ScalingCase run, brief;
  SharedPlan shared, brief_shared;

  explicit Prepared(const ScalingCase& of, const scheduling::MeasuredVisits& measured)
      : plan(plan_of(of)),
        brief_plan(plan_of(brief_of(of))),
        costs(costs_of(of, measured)),
        run(of),
        brief(brief_of(of)),
        shared(plan, of, costs),
        brief_shared(brief_plan, brief, costs) {}

  // Once for each rank.
  Json run_rank(int rank, comm::Fabric* fabric) {
    prctl(PR_SET_TIMERSLACK, 1000UL);  // sleeps end within a microsecond instead of fifty
    keep_memory();
    const auto pool = worker::DatumPool::make(64);  // of both, so that memory stays touched
    run_once(brief, rank, brief_plan, costs, brief_shared.source(rank), pool, fabric);
    return run_once(run, rank, plan, costs, shared.source(rank), pool, fabric);
  }

 private:
  static ScalingCase brief_of(ScalingCase run) {
    run.steps = std::min(run.steps, 2);
    run.forward_ms = std::min(run.forward_ms, 1.0);
    run.spans = false;
    return run;
  }
};

Json report_of(const Prepared& prepared, const Json& ranks) {
  const PlanRequest& plan = prepared.plan;
  const ScalingCase& run = prepared.run;
  const CostTable& costs = prepared.costs;
  const auto& bounds = prepared.shared.live_bytes_max;
  double makespan = 0;
  bool within = true;
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    makespan = std::max(makespan, ranks[r].at("end_s").get<double>());
    within = within && ranks[r].at("peak_live_bytes").get<std::int64_t>() <= bounds[r];
  }
  const double busy = sum(ranks, "busy_s"), count = static_cast<double>(ranks.size());
  const double gaps = sum(ranks, "back_to_back_tasks");
  const int boundaries = run.windows_per_group * run.layout.groups - 1;
  scheduling::SimulationOptions options;
  options.seed = run.seed;
  options.task_jitter = run.jitter;
  for (int rank = 0; rank < run.layout.ranks(); ++rank)
    options.rank_speed.push_back(run.speed(rank));
  const auto simulated = scheduling::simulate(plan, run.layout, costs, options);
  return {{"emulated", true},
          {"case", to_json(run)},
          {"ranks", run.layout.ranks()},
          {"frames", plan.windows.frames},
          {"seconds", makespan},
          {"frames_per_second", static_cast<double>(plan.windows.frames) / makespan},
          {"first_frames_s", ranks[0].at("first_output_s")},
          {"efficiency", busy / (count * makespan)},
          {"bubble_fraction", 1 - busy / (count * makespan)},
          {"bytes_moved", sum(ranks, "bytes_sent")},
          {"bytes_per_boundary_and_step",
           // Stage cuts come on top where there are stages: no such number then.
           boundaries == 0 || run.layout.stages > 1
               ? 0.0
               : sum(ranks, "bytes_sent") / boundaries / run.steps},
          {"tasks", sum(ranks, "tasks")},
          {"runtime_cost_us", gaps == 0 ? 0.0 : 1e6 * sum(ranks, "runtime_cost_s") / gaps},
          {"within_memory_bound", within},
          {"simulated_seconds", simulated.makespan_s},
          {"simulated_first_frames_s", simulated.first_output_s},
          // Of the ranks' time, at their own speeds, as measured.
          {"simulated_efficiency", 1 - simulated.bubble_fraction},
          {"hash", fmt::format("{:016x}", ranks[0].at("hash").get<std::uint64_t>())},
          {"per_rank", ranks}};
}

}  // namespace

Json run_scaling_loopback(const ScalingCase& run) {
  const int size = run.layout.ranks();
  scheduling::MeasuredVisits measured;
  for (int rank = 0; run.measured && rank < size; ++rank) {
    measured.push_back(measure_visits(run, rank));
  }
  Prepared prepared(run, measured);
  comm::LoopbackGang gang(size);
  Json ranks = Json::array();
  for (int rank = 0; rank < size; ++rank) ranks.push_back(nullptr);
  std::mutex mutex;
  std::exception_ptr failure;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      comm::Fabric* fabric = size == 1 ? nullptr : &gang.fabric(rank);
      try {
        Json outcome = prepared.run_rank(rank, fabric);
        const std::lock_guard lock(mutex);
        ranks[static_cast<std::size_t>(rank)] = std::move(outcome);
      } catch (const std::exception& error) {
        if (fabric != nullptr) fabric->abort(fmt::format("rank {}: {}", rank, error.what()));
        const std::lock_guard lock(mutex);
        if (!failure) failure = std::current_exception();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
  return report_of(prepared, ranks);
}

Json run_scaling_rank(const ScalingCase& run, int rank, comm::Fabric* fabric) {
  scheduling::MeasuredVisits measured;
  if (run.measured && fabric != nullptr) {
    measured = worker::gather_visits(measure_visits(run, rank), *fabric);
  }
  Prepared prepared(run, measured);
  const std::string own = prepared.run_rank(rank, fabric).dump();
  Json ranks = Json::array();
  if (fabric == nullptr) {
    ranks.push_back(Json::parse(own));
  } else {
    for (const auto& bytes : fabric->all_gather(std::as_bytes(std::span(own)))) {
      const auto* begin = reinterpret_cast<const char*>(bytes.data());
      ranks.push_back(Json::parse(begin, begin + bytes.size()));
    }
  }
  return rank == 0 ? report_of(prepared, ranks) : Json();
}

double run_with_barrier(const ScalingCase& run) {
  const int groups = run.layout.groups;
  comm::LoopbackGang gang(groups);
  std::vector<std::thread> threads;
  std::vector<double> seconds(static_cast<std::size_t>(groups));
  for (int group = 0; group < groups; ++group) {
    threads.emplace_back([&, group] {
      prctl(PR_SET_TIMERSLACK, 1000UL);
      auto& fabric = gang.fabric(group);
      fabric.barrier();
      const auto start = Clock::now();
      for (int step = 0; step < run.steps; ++step) {
        const auto begin = Clock::now();
        double work = 0;
        for (int w = 0; w < run.windows_per_group; ++w) {
          for (int branch = 0; branch < run.branches; ++branch) {
            scheduling::Task task;
            task.window = group * run.windows_per_group + w;
            task.step = step;
            task.branch = branch;
            work += run.forward_ms * 1e-3 * scheduling::jitter_factor(run.seed, run.jitter, task);
          }
        }
        std::this_thread::sleep_until(begin + std::chrono::duration_cast<Clock::duration>(
                                                  std::chrono::duration<double>(work)));
        fabric.barrier();
      }
      seconds[static_cast<std::size_t>(group)] =
          std::chrono::duration<double>(Clock::now() - start).count();
    });
  }
  for (auto& thread : threads) thread.join();
  return *std::max_element(seconds.begin(), seconds.end());
}

}  // namespace seamwright::bench
