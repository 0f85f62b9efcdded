#include "tests/unit/scheduling/kill_points.h"

#include <algorithm>
#include <deque>
#include <map>

#include "base/error.h"
#include "scheduling/needs.h"
#include "scheduling/retention.h"

namespace seamwright::scheduling {
namespace {

// Tasks done per rank; newest durable level per frame (causal: window); frames published. Messages
// follow from the tasks: nothing sees one that comes early.
struct State {
  std::vector<int> done;
  std::vector<int> durable;
  int published = 0;
  auto operator<=>(const State&) const = default;
};

class Explorer {
 public:
  Explorer(const Plan& plan, const Loss& before)
      : plan_(plan),
        before_(before),
        causal_(plan.request.coherence == Coherence::kCausal),
        schedule_(plan.request.windows) {
    const int places = causal_ ? schedule_.window_count(0) : plan_.request.windows.frames;
    start_.done.assign(plan_.ranks.size(), 0);
    start_.durable.assign(static_cast<std::size_t>(places), 0);
    for (const auto& [at, level] : before_.resume.records) {
      auto& newest = start_.durable[static_cast<std::size_t>(at)];
      newest = std::max(newest, level);
    }
    start_.published = before_.resume.first_missing_frame;
  }

  KillPoints run(const std::function<void(const Loss&)>& lost) {
    add(start_);
    while (!open_.empty()) {
      const State state = std::move(open_.front());
      open_.pop_front();
      const Loss loss = loss_at(state);
      judge(state, loss);
      if (lost) lost(loss);
      if (!expand(state) && !finished(state)) {
        found_.problem = "stuck at " + to_text(state);
      }
    }
    found_.states = static_cast<std::int64_t>(seen_.size());
    return found_;
  }

 private:
  void add(State state) {
    if (seen_.insert(state).second) open_.push_back(std::move(state));
  }

  bool finished(const State& state) const {
    for (std::size_t r = 0; r < plan_.ranks.size(); ++r) {
      if (state.done[r] < static_cast<int>(plan_.ranks[r].size())) return false;
    }
    return true;
  }

  // Everything that can happen next, one thing at a time.
  bool expand(const State& state) {
    bool any = false;
    const auto passed = messages_passed(state);
    for (std::size_t r = 0; r < plan_.ranks.size(); ++r) {
      if (!can_do(state, r, passed)) continue;
      State next = state;
      ++next.done[r];
      add(std::move(next));
      any = true;
    }
    const auto recorded = levels_recorded(state);
    for (std::size_t at = 0; at < state.durable.size(); ++at) {
      const auto level = recorded[at].upper_bound(state.durable[at]);
      if (level == recorded[at].end()) continue;
      State next = state;
      next.durable[at] = *level;
      add(std::move(next));
      any = true;
    }
    if (const int emitted = frames_emitted(state); emitted > state.published) {
      State next = state;
      next.published = emitted;
      add(std::move(next));
      any = true;
    }
    return any;
  }

  bool can_do(const State& state, std::size_t r, const std::vector<bool>& passed) {
    const auto position = static_cast<std::size_t>(state.done[r]);
    if (position >= plan_.ranks[r].size()) return false;
    const auto& planned = plan_.ranks[r][position];
    const auto is_passed = [&](std::int64_t m) { return passed[static_cast<std::size_t>(m)]; };
    if (!std::all_of(planned.receives.begin(), planned.receives.end(), is_passed)) return false;
    if (!std::all_of(planned.sends_done.begin(), planned.sends_done.end(), is_passed)) return false;
    if (planned.durable_level <= 0) return true;
    if (causal_) return newest(state, planned.task.window) >= planned.durable_level;
    const auto window = schedule_.window(planned.task.step, planned.task.window);
    return std::all_of(window.frames.begin(), window.frames.end(),
                       [&](int frame) { return newest(state, frame) >= planned.durable_level; });
  }

  // With zero-buffer sends, in the one global order of each rank.
  std::vector<bool> messages_passed(const State& state) const {
    std::vector<bool> passed(plan_.messages.size(), false);
    std::vector<bool> blocked(plan_.ranks.size(), false);
    for (std::size_t m = 0; m < plan_.messages.size(); ++m) {
      const auto& message = plan_.messages[m];
      const auto from = static_cast<std::size_t>(message.source);
      const auto to = static_cast<std::size_t>(message.destination);
      passed[m] = !blocked[from] && !blocked[to] && state.done[from] > message.produced_by &&
                  state.done[to] > message.receive_after;
      if (!passed[m]) blocked[from] = blocked[to] = true;
    }
    return passed;
  }

  int newest(const State& state, int at) const {
    if (!causal_ && at < state.published) return plan_.request.steps;
    return state.durable[static_cast<std::size_t>(at)];
  }

  std::vector<std::set<int>> levels_recorded(const State& state) const {
    std::vector<std::set<int>> levels(state.durable.size());
    for (std::size_t r = 0; r < plan_.ranks.size(); ++r) {
      for (int i = 0; i < state.done[r]; ++i) {
        const auto& planned = plan_.ranks[r][static_cast<std::size_t>(i)];
        const Task& task = planned.task;
        if (!planned.checkpoint) continue;
        if (task.kind == TaskKind::kMix) {
          levels[static_cast<std::size_t>(task.window)].insert(task.step + 1);
          continue;
        }
        for (int f = task.first_frame; f < task.first_frame + task.frame_count; ++f) {
          levels[static_cast<std::size_t>(f)].insert(task.step + 1);
        }
      }
    }
    return levels;
  }

  int frames_emitted(const State& state) const {
    int emitted = before_.resume.first_missing_frame;
    for (int i = 0; i < state.done[0]; ++i) {
      const Task& task = plan_.ranks[0][static_cast<std::size_t>(i)].task;
      if (task.kind == TaskKind::kEmit) emitted = task.first_frame + task.frame_count;
    }
    return emitted;
  }

  Loss loss_at(const State& state) {
    Loss loss{{state.published, before_.resume.records}, before_.done};
    const auto recorded = levels_recorded(state);
    for (std::size_t at = 0; at < recorded.size(); ++at) {
      for (const int level : recorded[at]) {
        // What is not newer than the newest is not written again.
        if (level > start_.durable[at] && level <= state.durable[at]) {
          loss.resume.records.insert({static_cast<int>(at), level});
        }
      }
    }
    for (std::size_t r = 0; r < plan_.ranks.size(); ++r) {
      for (int i = 0; i < state.done[r]; ++i) {
        const Task& task = plan_.ranks[r][static_cast<std::size_t>(i)].task;
        if (task.kind == TaskKind::kForward) loss.done.insert({task.window, task.step});
      }
    }
    delete_records(state, loss.resume.records);
    return loss;
  }

  void delete_records(const State& state, std::set<std::pair<int, int>>& records) {
    const DurableView view{[&](int at) { return newest(state, at); },
                           [&](int at) {
                             const auto oldest = records.lower_bound({at, 0});
                             return oldest != records.end() && oldest->first == at ? oldest->second
                                                                                   : 0;
                           },
                           state.published};
    for (std::size_t before = 0; before != records.size();) {
      before = records.size();
      for (auto it = records.begin(); it != records.end();) {
        const bool gone = record_deletable(plan_.request, schedule_, it->first, it->second, view);
        it = gone ? records.erase(it) : std::next(it);
      }
    }
  }

  void judge(const State& state, const Loss& loss) {
    std::map<int, int> again;
    const auto count = [&](const auto& needs) {
      for (const auto& [window, step] : loss.done) again[window] += needs.window(step, window);
    };
    if (loss.resume.first_missing_frame >= plan_.request.windows.frames) return;
    if (causal_) {
      count(CausalNeeds(plan_.request, schedule_, loss.resume));
    } else {
      count(LocalNeeds(plan_.request, schedule_, loss.resume));
    }
    for (const auto& [window, steps] : again) {
      if (steps <= found_.most_redone) continue;
      found_.most_redone = steps;
      found_.worst = fmt::format("window {} at {}", window, to_text(state));
    }
  }

  std::string to_text(const State& state) const {
    std::string text;
    for (std::size_t r = 0; r < state.done.size(); ++r) {
      const auto position = static_cast<std::size_t>(state.done[r]);
      text += fmt::format(
          "rank {} before {}; ", r,
          position < plan_.ranks[r].size() ? to_string(plan_.ranks[r][position].task) : "the end");
    }
    for (const int level : state.durable) text += fmt::format("{} ", level);
    return text + fmt::format("durable, {} published", state.published);
  }

  const Plan& plan_;
  const Loss& before_;
  const bool causal_;
  WindowSchedule schedule_;
  State start_;
  std::set<State> seen_;
  std::deque<State> open_;
  KillPoints found_;
};

}  // namespace

KillPoints explore(const Plan& plan, const Loss& before,
                   const std::function<void(const Loss&)>& lost) {
  return Explorer(plan, before).run(lost);
}

}  // namespace seamwright::scheduling
