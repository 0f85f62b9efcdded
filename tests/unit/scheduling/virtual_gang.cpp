#include "tests/unit/scheduling/virtual_gang.h"

#include <algorithm>

#include "base/error.h"
#include "scheduling/needs.h"
#include "scheduling/retention.h"
#include "tests/unit/scheduling/hash_network.h"

namespace seamwright::scheduling {
namespace {

// Index of a frame in a window, or -1.
int position_of(const Window& window, int frame) {
  const auto found = std::find(window.frames.begin(), window.frames.end(), frame);
  return found == window.frames.end() ? -1 : static_cast<int>(found - window.frames.begin());
}

}  // namespace

VirtualGang::VirtualGang(const Plan& plan, std::uint64_t seed, const GangResult* recorded)
    : plan_(plan),
      recorded_(recorded),
      schedule_(plan.request.windows),
      random_(seed),
      ranks_(plan.ranks.size()),
      passed_(plan.messages.size(), false) {
  result_.live_bytes_max.resize(ranks_.size());
  if (recorded != nullptr) {
    result_.records = recorded->records;
    result_.cleans = recorded->cleans;
    result_.durable = recorded->durable;
    result_.first_missing_frame = recorded->first_missing_frame;
  }
  for (std::size_t m = 0; m < plan.messages.size(); ++m) {
    ranks_[static_cast<std::size_t>(plan.messages[m].source)].messages.push_back(m);
    ranks_[static_cast<std::size_t>(plan.messages[m].destination)].messages.push_back(m);
  }
}

GangResult VirtualGang::run(std::int64_t stop_after) {
  const std::uint64_t style = random_() % 4;  // who is preferred: nobody, tasks, messages, one rank
  std::int64_t left = 0;
  for (const auto& tasks : plan_.ranks) left += static_cast<std::int64_t>(tasks.size());
  for (;;) {
    // (kind, index): 0 start, 1 finish, 2 message, 3 a record becomes durable.
    std::vector<std::pair<int, std::size_t>> possible;
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      if (ranks_[r].running) {
        if (can_finish(r)) possible.emplace_back(1, r);
      } else if (can_start(r)) {
        possible.emplace_back(0, r);
      }
      const auto& rank = ranks_[r];
      if (rank.next_message < rank.messages.size()) {
        const std::size_t m = rank.messages[rank.next_message];
        if (plan_.messages[m].source == static_cast<int>(r) && can_pass(m)) {
          possible.emplace_back(2, m);
        }
      }
    }
    if (!unsafe_records_.empty() && (possible.empty() || random_() % 2 == 0)) {
      possible.emplace_back(3, 0);
    }
    if (possible.empty()) break;
    if (stop_after >= 0 && result_.tasks >= stop_after) return result_;
    auto chosen = possible[random_() % possible.size()];
    if (style == 1) chosen = possible.front();
    if (style == 2) chosen = *std::max_element(possible.begin(), possible.end());
    if (style == 3 && random_() % 8 != 0) chosen = possible.back();
    if (chosen.first == 0) start(chosen.second);
    if (chosen.first == 1) finish(chosen.second), --left;
    if (chosen.first == 2) pass(chosen.second);
    if (chosen.first == 3) flush_record();
  }
  if (left > 0) result_.problem = fmt::format("stuck with {} tasks left", left);
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    if (left == 0 && !ranks_[r].store.empty()) {
      result_.problem =
          fmt::format("rank {} keeps {}", r, to_string(ranks_[r].store.begin()->first));
    }
  }
  return result_;
}

bool VirtualGang::can_start(std::size_t r) const {
  const auto& rank = ranks_[r];
  if (rank.next >= plan_.ranks[r].size()) return false;
  const auto& task = plan_.ranks[r][rank.next];
  const auto done = [&](std::int64_t m) { return passed_[static_cast<std::size_t>(m)]; };
  return std::all_of(task.receives.begin(), task.receives.end(), done) &&
         std::all_of(task.sends_done.begin(), task.sends_done.end(), done);
}

bool VirtualGang::can_finish(std::size_t r) const {
  return records_are_durable(plan_.ranks[r][ranks_[r].next - 1]);
}

bool VirtualGang::records_are_durable(const PlannedTask& planned) const {
  if (planned.durable_level <= 0) return true;
  if (plan_.request.coherence == Coherence::kCausal) {
    return durable_level(planned.task.window) >= planned.durable_level;
  }
  const auto window = schedule_.window(planned.task.step, planned.task.window);
  return std::all_of(window.frames.begin(), window.frames.end(), [&](int frame) {
    return plan_.request.windows.is_given(frame) || durable_level(frame) >= planned.durable_level;
  });
}

int VirtualGang::durable_level(int at) const {
  const bool local = plan_.request.coherence == Coherence::kLocal;
  if (local && at < result_.first_missing_frame) return plan_.request.steps;
  const auto after = result_.durable.upper_bound({at, plan_.request.steps});
  if (after == result_.durable.begin()) return 0;
  const auto newest = std::prev(after);
  return newest->first == at ? newest->second : 0;
}

int VirtualGang::oldest_durable_level(int at) const {
  const auto oldest = result_.durable.lower_bound({at, 0});
  return oldest != result_.durable.end() && oldest->first == at ? oldest->second : 0;
}

void VirtualGang::note_record(const PlannedTask& planned) {
  const Task& task = planned.task;
  if (task.kind == TaskKind::kMix) note_record(task.window, task.step + 1);
  for (int i = 0; task.kind == TaskKind::kAdvance && i < task.frame_count; ++i) {
    note_record(task.first_frame + i, task.step + 1);
  }
}

// What a second owner of a frame records is there already.
void VirtualGang::note_record(int at, int level) {
  const std::pair<int, int> record{at, level};
  if (durable_level(at) >= level) return;
  if (std::find(unsafe_records_.begin(), unsafe_records_.end(), record) != unsafe_records_.end()) {
    return;
  }
  unsafe_records_.push_back(record);
}

void VirtualGang::flush_record() {
  // Any frame's, but each frame's in ascending levels.
  const int at = unsafe_records_[random_() % unsafe_records_.size()].first;
  const auto chosen = std::find_if(unsafe_records_.begin(), unsafe_records_.end(),
                                   [&](const auto& record) { return record.first == at; });
  result_.durable.insert(*chosen);
  unsafe_records_.erase(chosen);
  const DurableView view{[&](int other) { return durable_level(other); },
                         [&](int other) { return oldest_durable_level(other); },
                         result_.first_missing_frame};
  for (auto it = result_.durable.begin(); it != result_.durable.end();) {
    const bool gone = record_deletable(plan_.request, schedule_, it->first, it->second, view);
    it = gone ? result_.durable.erase(it) : std::next(it);
  }
}

bool VirtualGang::can_pass(std::size_t m) const {
  const auto& message = plan_.messages[m];
  const auto& from = ranks_[static_cast<std::size_t>(message.source)];
  const auto& to = ranks_[static_cast<std::size_t>(message.destination)];
  const auto completed = [](const Rank& rank) {
    return static_cast<std::int64_t>(rank.next) - (rank.running ? 1 : 0);
  };
  return from.messages[from.next_message] == m && to.next_message < to.messages.size() &&
         to.messages[to.next_message] == m && completed(from) > message.produced_by &&
         completed(to) > message.receive_after;
}

void VirtualGang::start(std::size_t r) {
  auto& rank = ranks_[r];
  const auto& task = plan_.ranks[r][rank.next];
  ensure(task.position == static_cast<std::int64_t>(rank.next) && task.rank == static_cast<int>(r),
         "{} is out of place", to_string(task.task));
  std::vector<std::pair<DataRef, Values>> made;
  for (const auto& output : task.outputs) made.emplace_back(output, compute(rank, task, output.id));
  if (task.task.kind == TaskKind::kEmit) {
    for (const auto& [frame, value] : read(rank, task.inputs.front())) {
      ensure(result_.frames.emplace(frame, value).second, "frame {} was emitted twice", frame);
    }
  }
  for (auto& [ref, values] : made) {
    rank.bytes += ref.bytes;
    if (ref.uses == 0) continue;
    ensure(rank.store.emplace(ref.id, Item{std::move(values), ref.bytes, ref.uses}).second,
           "{} is already there", to_string(ref.id));
  }
  ++rank.next;
  rank.running = true;
  auto& most = result_.live_bytes_max[r];
  most = std::max(most, rank.bytes);
}

void VirtualGang::finish(std::size_t r) {
  auto& rank = ranks_[r];
  const auto& task = plan_.ranks[r][rank.next - 1];
  if (task.checkpoint) note_record(task);
  if (task.task.kind == TaskKind::kEmit) {
    result_.first_missing_frame = task.task.first_frame + task.task.frame_count;
  }
  for (const auto& id : task.inputs) use(rank, id);
  for (const auto& output : task.outputs) {
    if (output.uses == 0) rank.bytes -= output.bytes;
  }
  rank.running = false;
  ++result_.tasks;
  if (task.task.kind != TaskKind::kForward) return;
  ++result_.forwards;
  result_.steps.insert({task.task.window, task.task.step});
}

void VirtualGang::use(Rank& rank, const DataId& id) {
  const auto found = rank.store.find(id);
  ensure(found != rank.store.end(), "{} was used up too early", to_string(id));
  if (--found->second.uses > 0) return;
  rank.bytes -= found->second.bytes;
  rank.store.erase(found);
}

void VirtualGang::pass(std::size_t m) {
  const auto& message = plan_.messages[m];
  auto& from = ranks_[static_cast<std::size_t>(message.source)];
  auto& to = ranks_[static_cast<std::size_t>(message.destination)];
  for (const auto& ref : message.data) {
    Values values = read(from, ref.id);
    if (!message.positions.empty()) {
      std::erase_if(values, [&](const auto& entry) {
        return !std::binary_search(message.positions.begin(), message.positions.end(), entry.first);
      });
    }
    use(from, ref.id);
    to.bytes += ref.bytes;
    ensure(to.store.emplace(ref.id, Item{std::move(values), ref.bytes, ref.uses}).second,
           "{} arrived twice", to_string(ref.id));
  }
  auto& most = result_.live_bytes_max[static_cast<std::size_t>(message.destination)];
  most = std::max(most, to.bytes);
  ++from.next_message;
  ++to.next_message;
  passed_[m] = true;
}

const Values& VirtualGang::read(const Rank& rank, const DataId& id) const {
  const auto found = rank.store.find(id);
  ensure(found != rank.store.end(), "{} is not there", to_string(id));
  return found->second.values;
}

Values VirtualGang::compute(const Rank& rank, const PlannedTask& planned, const DataId& output) {
  const Task& task = planned.task;
  const PlanRequest& request = plan_.request;
  switch (task.kind) {
    case TaskKind::kSource:
      return source(task, output);
    case TaskKind::kForward: {
      if (task.visit > 0) {
        const auto& value = read(rank, planned.inputs.front());
        for (const auto& id : planned.inputs) {
          ensure(read(rank, id) == value, "{} belongs to something else", to_string(id));
        }
        return value;
      }
      std::vector<std::uint64_t> input;
      if (request.coherence == Coherence::kCausal) {
        for (const auto& [position, value] : read(rank, planned.inputs.front())) {
          input.push_back(value);
        }
      } else {
        for (const int frame : schedule_.window(task.step, task.window).frames) {
          input.push_back(read(rank, {DataKind::kState, frame, task.step}).at(0));
        }
      }
      return {{0, network(input, task.step, task.branch)}};
    }
    case TaskKind::kCombine: {
      std::vector<std::uint64_t> outputs;
      for (const auto& id : planned.inputs) outputs.push_back(read(rank, id).at(0));
      Values prediction;
      const auto length = schedule_.window(task.step, task.window).frames.size();
      for (int j = 0; j < static_cast<int>(length); ++j) prediction[j] = guided(outputs, j);
      return prediction;
    }
    case TaskKind::kAdvance: {
      auto values = advance(rank, task, output.at);
      result_.records[{output.at, output.step}] = values;
      return values;
    }
    case TaskKind::kEnter:
      return enter(rank, task);
    case TaskKind::kMix: {
      auto values = mix(rank, task, output);
      const auto key = std::make_pair(task.window, task.step + 1);
      if (output.kind == DataKind::kClean) result_.cleans[key] = values;
      if (output.kind == DataKind::kWindowState && output.round == 0) result_.records[key] = values;
      if (output.kind == DataKind::kState) result_.records[key][output.at] = values.at(0);
      return values;
    }
    case TaskKind::kDecode: {
      Values pixels;
      for (const auto& id : planned.inputs) pixels[id.at] = read(rank, id).at(0);
      return pixels;
    }
    case TaskKind::kEmit:
      break;
  }
  fail(ErrorCode::kInternal, "{} has no output", to_string(task));
}

Values VirtualGang::source(const Task& task, const DataId& output) const {
  if (output.kind == DataKind::kState && plan_.request.windows.is_given(output.at)) {
    return {{0, given(output.at, output.step)}};
  }
  if (output.kind == DataKind::kState && output.step == 0) return {{0, noise(output.at)}};
  ensure(recorded_ != nullptr, "{} loads a record that nobody wrote", to_string(task));
  const auto key = std::make_pair(task.window, task.step);
  const auto record = task.window >= 0 ? key : std::make_pair(output.at, output.step);
  ensure(recorded_->durable.contains(record), "{} loads a record that is not durable",
         to_string(task));
  if (output.kind == DataKind::kClean) return recorded_->cleans.at(key);
  if (output.kind == DataKind::kWindowState) return recorded_->records.at(key);
  if (task.window >= 0) return {{0, recorded_->records.at(key).at(output.at)}};
  return recorded_->records.at({output.at, output.step});
}

Values VirtualGang::advance(const Rank& rank, const Task& task, int frame) const {
  std::uint64_t hash = read(rank, {DataKind::kState, frame, task.step}).at(0);
  for (const int id : schedule_.covering(task.step, frame)) {
    const auto window = schedule_.window(task.step, id);
    const auto& prediction = read(rank, {DataKind::kPrediction, id, task.step});
    for (std::size_t j = 0; j < window.frames.size(); ++j) {
      if (window.frames[j] == frame) hash = join({hash, prediction.at(static_cast<int>(j))});
    }
  }
  return {{0, join({hash, number(task.step)})}};
}

Values VirtualGang::enter(const Rank& rank, const Task& task) const {
  const auto window = schedule_.window(0, task.window);
  Values input;
  if (task.step == 0 && task.round == 0) {
    for (std::size_t j = 0; j < window.frames.size(); ++j) {
      input[static_cast<int>(j)] = noise(window.frames[j]);
    }
  } else {
    input = read(rank, {DataKind::kWindowState, task.window, task.step, task.round});
  }
  for (const auto& [frame, clean] : followed(rank, task)) {
    input.at(position_of(window, frame)) = renoised(clean, frame, task.step, task.round);
  }
  for (auto& [position, value] : input) {
    const int frame = window.frames[static_cast<std::size_t>(position)];
    if (plan_.request.windows.is_given(frame)) {
      value = renoised(given(frame, 0), frame, task.step, task.round);
    }
  }
  return input;
}

// By frame, the clean estimates that a window follows.
std::map<int, std::uint64_t> VirtualGang::followed(const Rank& rank, const Task& task) const {
  std::map<int, std::uint64_t> cleans;
  if (!schedule_.follows(task.window)) return cleans;
  const auto before = schedule_.window(0, task.window - 1);
  const int step = followed_step(plan_.request, task.step);
  for (const auto& [position, value] : read(rank, {DataKind::kClean, task.window - 1, step})) {
    cleans[before.frames[static_cast<std::size_t>(position)]] = value;
  }
  return cleans;
}

Values VirtualGang::mix(const Rank& rank, const Task& task, const DataId& output) const {
  const auto window = schedule_.window(0, task.window);
  Values clean = read(rank, {DataKind::kPrediction, task.window, task.step, task.round});
  const auto& input = read(rank, {DataKind::kInput, task.window, task.step, task.round});
  const auto predecessor = followed(rank, task);
  for (auto& [position, value] : clean) {
    const int frame = window.frames[static_cast<std::size_t>(position)];
    const auto shared = predecessor.find(frame);
    value = mixed(value, input.at(position), shared == predecessor.end() ? 0 : shared->second);
    if (plan_.request.windows.is_given(frame)) value = given(frame, 0);
  }
  if (output.kind == DataKind::kClean) {
    const auto successor = schedule_.window(0, task.window + 1);
    std::erase_if(clean, [&](const auto& entry) {
      return position_of(successor, window.frames[static_cast<std::size_t>(entry.first)]) < 0;
    });
    return clean;
  }
  if (output.kind == DataKind::kState) {
    if (plan_.request.windows.is_given(output.at)) return {{0, given(output.at, output.step)}};
    const int position = position_of(window, output.at);
    return {{0, stepped(clean.at(position), input.at(position), task.step)}};
  }
  Values next;
  for (const auto& [position, value] : clean) {
    const int frame = window.frames[static_cast<std::size_t>(position)];
    next[position] = output.round > 0 ? renoised(value, frame, task.step, output.round)
                                      : stepped(value, input.at(position), task.step);
  }
  return next;
}

}  // namespace seamwright::scheduling
