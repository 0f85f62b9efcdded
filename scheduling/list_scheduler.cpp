#include "scheduling/list_scheduler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/error.h"

namespace seamwright::scheduling {
namespace {

std::int64_t to_ns(double seconds) { return std::llround(seconds * 1e9); }

}  // namespace

ListScheduler::ListScheduler(const Layout& layout, const CostTable& costs,
                             const PlanOptions& options)
    : layout_(layout),
      costs_(costs),
      options_(options),
      ranks_(static_cast<std::size_t>(layout.ranks())) {
  for (const double seconds : costs.visit_s) {
    margin_ns_ = std::max(margin_ns_, to_ns(seconds * options.arrival_margin));
    activation_margin_ns_ =
        std::max(activation_margin_ns_, to_ns(seconds * options.activation_margin));
  }
}

int ListScheduler::slack(const DataId& id) const {
  return id.kind == DataKind::kActivation ? options_.activation_slack_tasks : options_.slack_tasks;
}

void ListScheduler::ready(ReadyTask task) {
  const std::uint64_t slot = order_++;
  auto& rank = ranks_[static_cast<std::size_t>(task.rank)];
  rank.ready.push({task.priority, slot, slot});
  touched_.insert(task.rank);
  waiting_.emplace(slot, std::move(task));
}

void ListScheduler::send(int source, int destination, std::vector<DataRef> data,
                         std::vector<int> positions, std::int64_t receive_after) {
  ensure(source != destination && !data.empty(), "a message from rank {} to rank {}", source,
         destination);
  auto& from = ranks_[static_cast<std::size_t>(source)];
  auto& to = ranks_[static_cast<std::size_t>(destination)];
  Message message;
  message.index = next_message_++;
  message.source = source;
  message.destination = destination;
  message.positions = std::move(positions);
  message.ready_ns = now_ns_;
  for (const auto& ref : data) {
    message.bytes += ref.bytes;
    message.produced_by = std::max(message.produced_by, from.held.at(ref.id).producer);
  }
  const std::int64_t latest = to.finished - 1 - slack(data.front().id);
  message.receive_after = std::max({receive_after, latest, std::int64_t{-1}});
  for (const auto& ref : data) to.byte_changes[message.receive_after + 1] += ref.bytes;
  message.data = std::move(data);

  const LinkCost& link = costs_.link(source, destination);
  const std::int64_t occupied = to_ns(link.busy_s(message.bytes));
  const std::int64_t start = std::max({now_ns_, from.link_free_ns, to.link_free_ns});
  from.link_free_ns = to.link_free_ns = start + occupied;
  message.arrival_ns = start + occupied + to_ns(link.latency_s);
  const DataKind kind = message.data.front().id.kind;
  if (kind == DataKind::kPrediction) message.arrival_ns += margin_ns_;
  if (kind == DataKind::kActivation) message.arrival_ns += activation_margin_ns_;
  events_.push({message.arrival_ns, order_++, true, static_cast<std::uint64_t>(message.index)});
  mix(message);
  chunk_.messages.push_back(message);
  travelling_.emplace(message.index, std::move(message));
}

void ListScheduler::run(Driver& driver, int tasks) {
  const std::size_t wanted = chunk_.tasks.size() + static_cast<std::size_t>(tasks);
  for (;;) {
    // Everything that happens at one moment is known before a rank chooses at that moment.
    while (!events_.empty() && events_.top().time_ns == now_ns_) {
      const Event event = events_.top();
      events_.pop();
      if (event.is_message) {
        finish_message(event.key, driver);
      } else {
        finish_task(static_cast<int>(event.key), driver);
      }
    }
    const auto touched = std::exchange(touched_, {});
    for (const int rank : touched) place(rank);
    if (chunk_.tasks.size() >= wanted || events_.empty()) return;
    now_ns_ = events_.top().time_ns;
    end_ns_ = std::max(end_ns_, now_ns_);
  }
}

PlanChunk ListScheduler::take() { return std::exchange(chunk_, {}); }

void ListScheduler::place(int rank_index) {
  auto& rank = ranks_[static_cast<std::size_t>(rank_index)];
  if (rank.busy || rank.ready.empty()) return;
  const auto found = waiting_.find(rank.ready.top().slot);
  rank.ready.pop();
  ReadyTask chosen = std::move(found->second);
  waiting_.erase(found);

  PlannedTask planned;
  planned.task = chosen.task;
  planned.rank = rank_index;
  planned.position = rank.placed++;
  planned.inputs = std::move(chosen.inputs);
  planned.checkpoint = chosen.checkpoint;
  planned.durable_level = chosen.durable_level;
  planned.start_ns = now_ns_;
  planned.duration_ns = to_ns(chosen.seconds / costs_.speed(rank_index));
  for (const auto& id : planned.inputs) consume(rank, id, planned.position, planned.receives);
  std::sort(planned.receives.begin(), planned.receives.end());
  planned.receives.erase(std::unique(planned.receives.begin(), planned.receives.end()),
                         planned.receives.end());
  for (const auto& output : chosen.outputs) {
    planned.outputs.push_back({output.id, output.bytes, output.reads + output.sends});
    rank.byte_changes[planned.position] += output.bytes;
    rank.held.emplace(output.id, Held{output.bytes, planned.position, -1, planned.position,
                                      output.reads, output.sends});
    release_if_unused(rank, output.id);
  }
  const auto waits = rank.sends_done.find(planned.position);
  if (waits != rank.sends_done.end()) {
    planned.sends_done = std::move(waits->second);
    rank.sends_done.erase(waits);
  }
  events_.push(
      {now_ns_ + planned.duration_ns, order_++, false, static_cast<std::uint64_t>(rank_index)});
  mix(planned);
  chunk_.tasks.push_back(planned);
  rank.running = std::move(planned);
  rank.busy = true;
  if ((rank.placed & 1023) == 0) fold_live_bytes(rank, rank.finished - 1 - options_.slack_tasks);
}

void ListScheduler::consume(Rank& rank, const DataId& id, std::int64_t position,
                            std::vector<std::int64_t>& receives) {
  const auto found = rank.held.find(id);
  ensure(found != rank.held.end() && found->second.reads > 0, "{} is read but not there",
         to_string(id));
  Held& held = found->second;
  if (held.message >= 0) receives.push_back(held.message);
  held.last_use = std::max(held.last_use, position);
  --held.reads;
  release_if_unused(rank, id);
}

void ListScheduler::release_if_unused(Rank& rank, const DataId& id) {
  const auto found = rank.held.find(id);
  if (found->second.reads > 0 || found->second.sends > 0) return;
  rank.byte_changes[found->second.last_use + 1] -= found->second.bytes;
  rank.held.erase(found);
}

void ListScheduler::finish_task(int rank_index, Driver& driver) {
  auto& rank = ranks_[static_cast<std::size_t>(rank_index)];
  rank.busy = false;
  ++rank.finished;
  touched_.insert(rank_index);
  const PlannedTask done = std::move(rank.running);
  driver.on_done(done);
}

void ListScheduler::finish_message(std::uint64_t index, Driver& driver) {
  const auto found = travelling_.find(static_cast<std::int64_t>(index));
  const Message message = std::move(found->second);
  travelling_.erase(found);
  auto& from = ranks_[static_cast<std::size_t>(message.source)];
  auto& to = ranks_[static_cast<std::size_t>(message.destination)];
  // The sender's copy may stay until this position at the latest: the send is waited for there.
  const std::int64_t gone = from.placed + slack(message.data.front().id);
  from.sends_done[gone].push_back(message.index);
  for (const auto& ref : message.data) {
    Held& held = from.held.at(ref.id);
    ensure(held.sends > 0, "{} was sent more often than announced", to_string(ref.id));
    --held.sends;
    held.last_use = std::max(held.last_use, gone);
    release_if_unused(from, ref.id);
    const bool fresh = to.held
                           .emplace(ref.id, Held{ref.bytes, -1, message.index,
                                                 message.receive_after + 1, ref.uses, 0})
                           .second;
    ensure(fresh, "{} arrived twice", to_string(ref.id));
    release_if_unused(to, ref.id);
  }
  driver.on_arrival(message);
}

void ListScheduler::fold_live_bytes(Rank& rank, std::int64_t below) {
  auto& changes = rank.byte_changes;
  while (!changes.empty() && changes.begin()->first < below) {
    rank.live_bytes += changes.begin()->second;
    rank.live_bytes_max = std::max(rank.live_bytes_max, rank.live_bytes);
    changes.erase(changes.begin());
  }
}

const std::vector<std::int64_t>& ListScheduler::live_bytes_max() {
  live_bytes_max_.clear();
  for (auto& rank : ranks_) {
    std::int64_t live = rank.live_bytes;
    std::int64_t most = rank.live_bytes_max;
    for (const auto& [position, bytes] : rank.byte_changes) {
      live += bytes;
      most = std::max(most, live);
    }
    live_bytes_max_.push_back(most);
  }
  return live_bytes_max_;
}

void ListScheduler::mix(const PlannedTask& planned) {
  const Task& t = planned.task;
  for (const int part : {static_cast<int>(t.kind), t.window, t.step, t.round, t.branch, t.visit,
                         t.chunk, t.first_frame, t.frame_count, planned.rank, planned.durable_level,
                         planned.checkpoint ? 1 : 0}) {
    mix(static_cast<std::uint64_t>(part));
  }
  for (const auto& id : planned.inputs) mix(DataIdHash{}(id));
  for (const auto& ref : planned.outputs) {
    mix(DataIdHash{}(ref.id));
    mix(static_cast<std::uint64_t>(ref.bytes));
    mix(static_cast<std::uint64_t>(ref.uses));
  }
  for (const auto index : planned.receives) mix(static_cast<std::uint64_t>(index));
  for (const auto index : planned.sends_done) mix(static_cast<std::uint64_t>(index));
}

void ListScheduler::mix(const Message& message) {
  mix(static_cast<std::uint64_t>(message.source));
  mix(static_cast<std::uint64_t>(message.destination));
  mix(static_cast<std::uint64_t>(message.bytes));
  mix(static_cast<std::uint64_t>(message.produced_by));
  mix(static_cast<std::uint64_t>(message.receive_after));
  for (const auto& ref : message.data) mix(DataIdHash{}(ref.id));
  for (const int position : message.positions) mix(static_cast<std::uint64_t>(position));
}

}  // namespace seamwright::scheduling
