#include "scheduling/simulator.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/rng.h"
#include "scheduling/placement.h"
#include "scheduling/retention.h"
#include "scheduling/walk.h"

namespace seamwright::scheduling {
namespace {

struct Done {
  PlannedTask task;
  double end_s = 0.0;
};

// Gives every task and message of a plan its time. A plan is a marked graph: start times are
// longest paths, so no event queue is needed and any legal order of visiting gives the same.
class TimedWalk : public PlanVisitor {
 public:
  TimedWalk(const PlanRequest& request, const Layout& layout, const CostTable& costs,
            const SimulationOptions& options, double begin_s, const ResumeState& resume)
      : request_(request),
        costs_(costs),
        options_(options),
        schedule_(request.windows),
        resume_(resume),
        ranks_(static_cast<std::size_t>(layout.ranks())) {
    for (auto& rank : ranks_) rank.end_s = rank.link_free_s = begin_s;
  }

  void on_task(const PlannedTask& planned) override {
    auto& rank = ranks_[static_cast<std::size_t>(planned.rank)];
    double start = rank.end_s + (planned.position > 0 ? options_.task_overhead_s : 0.0);
    for (const auto m : planned.receives) start = std::max(start, arrivals_.at(m));
    for (const auto m : planned.sends_done) start = std::max(start, sent_.at(m));
    const double seconds = duration(planned, start);
    double end = start + seconds;
    if (planned.durable_level > 0) end = std::max(end, durable_at(planned));
    rank.end_s = end;
    rank.busy_s += seconds;
    rank.ends_s.push_back(end);
    makespan_s = std::max(makespan_s, end);
    compute_s += static_cast<double>(planned.duration_ns) * 1e-9 * costs_.speed(planned.rank) *
                 jitter_factor(options_.seed, options_.task_jitter, planned.task);
    if (planned.checkpoint) record(planned, end + options_.durable_after_s);
    finished(planned, end);
  }

  void on_message(const Message& message) override {
    auto& from = ranks_[static_cast<std::size_t>(message.source)];
    auto& to = ranks_[static_cast<std::size_t>(message.destination)];
    double start = std::max({from.link_free_s, to.link_free_s,
                             from.ends_s[static_cast<std::size_t>(message.produced_by)]});
    if (message.receive_after >= 0) {
      start = std::max(start, to.ends_s[static_cast<std::size_t>(message.receive_after)]);
    }
    const LinkCost& link =
        options_.link ? *options_.link : costs_.link(message.source, message.destination);
    Task key;
    key.window = static_cast<int>(message.index);
    const double factor = jitter_factor(options_.seed + 1, options_.link_jitter, key);
    const double occupied = link.busy_s(message.bytes) * factor;
    from.link_free_s = to.link_free_s = start + occupied;
    arrivals_[message.index] = start + occupied + link.latency_s * factor;
    sent_[message.index] = start + occupied;
    auto& sum = traffic[message.data.front().id.kind];
    ++sum.messages;
    sum.bytes += message.bytes;
  }

  std::vector<double> busy_s() const {
    std::vector<double> busy;
    for (const auto& rank : ranks_) busy.push_back(rank.busy_s);
    return busy;
  }

  double makespan_s = 0.0;
  double compute_s = 0.0;
  std::map<DataKind, Traffic> traffic;
  std::vector<std::pair<double, PlannedTask>> done;  // emits, checkpoints and first visits
  std::int64_t tasks = 0;

 private:
  struct Rank {
    double end_s = 0.0;
    double link_free_s = 0.0;
    double busy_s = 0.0;
    std::vector<double> ends_s;
  };

  double duration(const PlannedTask& planned, double start) const {
    const auto rank = static_cast<std::size_t>(planned.rank);
    const double planned_speed = costs_.speed(planned.rank);
    const double speed = options_.rank_speed.empty() ? planned_speed : options_.rank_speed[rank];
    double seconds = static_cast<double>(planned.duration_ns) * 1e-9 * planned_speed / speed *
                     jitter_factor(options_.seed, options_.task_jitter, planned.task);
    for (const auto& slow : options_.stragglers) {
      if (slow.rank == planned.rank && start >= slow.from_s && start < slow.until_s) {
        seconds *= slow.slowdown;
      }
    }
    return seconds;
  }

  void record(const PlannedTask& planned, double safe_s) {
    const Task& t = planned.task;
    const auto note = [&](int at) {
      const auto [found, first] = durable_s_.try_emplace({at, t.step + 1}, safe_s);
      if (!first) found->second = std::min(found->second, safe_s);
    };
    if (t.kind == TaskKind::kMix) note(t.window);
    for (int i = 0; t.kind == TaskKind::kAdvance && i < t.frame_count; ++i) note(t.first_frame + i);
  }

  // When the records that this forward waits for are safe.
  double durable_at(const PlannedTask& planned) const {
    const Task& t = planned.task;
    double safe = 0.0;
    const auto need = [&](int at) {
      const auto found = durable_s_.find({at, planned.durable_level});
      if (found != durable_s_.end()) {
        safe = std::max(safe, found->second);
        return;
      }
      const auto loaded = resume_.records.lower_bound({at, planned.durable_level});
      ensure(loaded != resume_.records.end() && loaded->first == at,
             "{} waits for a record of {} at level {} that nobody writes", to_string(t), at,
             planned.durable_level);
    };
    if (request_.coherence == Coherence::kCausal) {
      need(t.window);
    } else {
      for (const int frame : schedule_.window(t.step, t.window).frames) {
        if (!request_.windows.is_given(frame)) need(frame);
      }
    }
    return safe;
  }

  void finished(const PlannedTask& planned, double end) {
    ++tasks;
    const TaskKind kind = planned.task.kind;
    const bool kept = kind == TaskKind::kEmit || planned.checkpoint ||
                      (kind == TaskKind::kForward && planned.task.visit == 0);
    if (!kept) return;
    PlannedTask brief;
    brief.task = planned.task;
    brief.checkpoint = planned.checkpoint;
    done.emplace_back(end, std::move(brief));
  }

  PlanRequest request_;
  CostTable costs_;
  SimulationOptions options_;
  WindowSchedule schedule_;
  ResumeState resume_;
  std::vector<Rank> ranks_;
  std::map<std::int64_t, double> arrivals_;
  std::map<std::int64_t, double> sent_;
  std::map<std::pair<int, int>, double> durable_s_;
};

// What a gang that is lost at `lost_s` leaves behind.
ResumeState left_behind(const PlanRequest& request, const TimedWalk& walk,
                        const SimulationOptions& options, ResumeState state, double lost_s) {
  int emitted = state.first_missing_frame;
  for (const auto& [end_s, planned] : walk.done) {
    const Task& t = planned.task;
    if (t.kind == TaskKind::kEmit && end_s + options.durable_after_s <= lost_s) {
      emitted = std::max(emitted, t.first_frame + t.frame_count);
    }
    if (!planned.checkpoint || end_s + options.durable_after_s > lost_s) continue;
    if (t.kind == TaskKind::kMix) state.records.insert({t.window, t.step + 1});
    for (int i = 0; t.kind == TaskKind::kAdvance && i < t.frame_count; ++i) {
      state.records.insert({t.first_frame + i, t.step + 1});
    }
  }
  const int grid = std::max(request.decode_frames, options.output_segment_frames);
  const bool whole = emitted >= request.windows.frames;
  state.first_missing_frame =
      whole ? emitted : emitted / grid * grid / request.decode_frames * request.decode_frames;
  return state;
}

}  // namespace

double jitter_factor(std::uint64_t seed, double jitter, const Task& t) {
  if (jitter == 0.0) return 1.0;
  NoiseKey key;
  key.seed = seed;
  key.purpose = NoisePurpose::kTest;
  key.frame = (static_cast<std::int64_t>(t.step + 1) << 24) ^
              (t.window >= 0 ? t.window : t.first_frame + (1 << 22));
  key.evaluation = static_cast<std::uint32_t>(((t.round * 2 + t.branch) * 512 + t.visit) * 16 +
                                              static_cast<int>(t.kind));
  const double unit = random_word(key, 0) * 0x1p-32;  // [0, 1)
  return 1.0 + jitter * (2.0 * unit - 1.0);
}

SimulationResult simulate(const PlanRequest& request, const Layout& layout, const CostTable& costs,
                          const SimulationOptions& options, const PlanOptions& plan_options) {
  SimulationResult result;
  ResumeState resume;
  double begin_s = 0.0;
  std::size_t failures = 0;
  std::set<Task> forwards_done;  // only kept when there are failures to count what is redone
  result.busy_s.assign(static_cast<std::size_t>(layout.ranks()), 0.0);
  for (;;) {
    Planner planner(request, layout, costs, resume, plan_options);
    TimedWalk walk(request, layout, costs, options, begin_s, resume);
    PlanWalker walker(layout.ranks());
    while (!planner.done()) {
      walker.add(planner.next_chunk());
      const auto stuck = walker.run(walk);
      ensure(stuck.empty(), "{}", stuck);
    }
    const bool lost =
        failures < options.failures_s.size() && options.failures_s[failures] < walk.makespan_s;
    const double until_s = lost ? options.failures_s[failures] : walk.makespan_s;
    for (const auto& [end_s, planned] : walk.done) {
      if (end_s > until_s) continue;
      if (planned.task.kind == TaskKind::kEmit &&
          (result.first_output_s == 0.0 || end_s < result.first_output_s)) {
        result.first_output_s = end_s;
      }
      if (planned.task.kind != TaskKind::kForward) continue;
      ++result.forwards;
      if (!options.failures_s.empty() && !forwards_done.insert(planned.task).second) {
        ++result.redone_forwards;
      }
    }
    if (lost) {
      resume = left_behind(request, walk, options, std::move(resume), until_s);
      begin_s = until_s + options.restart_s;
      ++failures;
      result.reasons.push_back(
          fmt::format("lost at {:.2f} s with output up to frame {} and {} records", until_s,
                      resume.first_missing_frame, resume.records.size()));
      continue;
    }
    const auto busy = walk.busy_s();
    for (std::size_t r = 0; r < busy.size(); ++r) result.busy_s[r] += busy[r];
    result.makespan_s = walk.makespan_s;
    result.compute_s = walk.compute_s;
    result.tasks = walk.tasks;
    result.traffic = walk.traffic;
    result.live_bytes_max = planner.live_bytes_max();
    for (const auto& reason : planner.reasons()) result.reasons.push_back(reason);
    break;
  }
  const double rank_s = layout.ranks() * result.makespan_s;
  double busy = 0.0;
  for (const double seconds : result.busy_s) busy += seconds;
  if (rank_s > 0) {
    result.efficiency = result.compute_s / rank_s;
    result.bubble_fraction = 1.0 - busy / rank_s;
  }
  return result;
}

double barrier_makespan_s(const PlanRequest& request, const Layout& layout, const CostTable& costs,
                          const SimulationOptions& options) {
  validate(request);
  validate(costs, layout);
  require(layout.stages == 1 && request.coherence == Coherence::kLocal,
          "the barrier comparison is for one stage and local coherence");
  const WindowSchedule schedule(request.windows);
  Placement placement(request, layout, costs);
  double total = 0.0;
  for (int step = 0; step < request.steps; ++step) {
    std::vector<double> group_s(static_cast<std::size_t>(layout.groups), 0.0);
    for (int window = 0; window < schedule.window_count(step); ++window) {
      const int group = placement.group(step, window);
      for (int branch = 0; branch < request.branches; ++branch) {
        Task task;
        task.window = window;
        task.step = step;
        task.branch = branch;
        group_s[static_cast<std::size_t>(group)] +=
            costs.visit_s[0] * jitter_factor(options.seed, options.task_jitter, task) /
            costs.speed(layout.home_rank(group));
      }
    }
    total += *std::max_element(group_s.begin(), group_s.end());
  }
  return total;
}

}  // namespace seamwright::scheduling
