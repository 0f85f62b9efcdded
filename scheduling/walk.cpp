#include "scheduling/walk.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace seamwright::scheduling {

PlanWalker::PlanWalker(int ranks) : ranks_(static_cast<std::size_t>(ranks)) {}

void PlanWalker::add(PlannedTask task) {
  ranks_.at(static_cast<std::size_t>(task.rank)).tasks.push_back(std::move(task));
}

void PlanWalker::add(const Message& message) {
  ranks_.at(static_cast<std::size_t>(message.source)).messages.push_back(message);
  ranks_.at(static_cast<std::size_t>(message.destination)).messages.push_back(message);
}

void PlanWalker::add(const PlanChunk& chunk) {
  for (const auto& task : chunk.tasks) add(task);
  for (const auto& message : chunk.messages) add(message);
}

std::string PlanWalker::run(PlanVisitor& visitor) {
  std::vector<int> worklist;
  for (int rank = static_cast<int>(ranks_.size()) - 1; rank >= 0; --rank) worklist.push_back(rank);
  while (!worklist.empty()) {
    const int rank = worklist.back();
    worklist.pop_back();
    for (;;) {
      if (walk_task(ranks_[static_cast<std::size_t>(rank)], visitor)) {
        // A task may free what a peer waits for at its own head: look at that peer again.
        const auto& messages = ranks_[static_cast<std::size_t>(rank)].messages;
        if (!messages.empty()) {
          const auto& head = messages.front();
          worklist.push_back(head.source == rank ? head.destination : head.source);
        }
        continue;
      }
      const int other = walk_message(rank, visitor);
      if (other < 0) break;
      worklist.push_back(other);
    }
  }
  return stuck();
}

bool PlanWalker::walk_task(Rank& rank, PlanVisitor& visitor) {
  if (rank.tasks.empty()) return false;
  const auto passed = [&](std::int64_t message) { return message <= rank.last_passed; };
  const auto& head = rank.tasks.front();
  if (!std::all_of(head.receives.begin(), head.receives.end(), passed)) return false;
  if (!std::all_of(head.sends_done.begin(), head.sends_done.end(), passed)) return false;
  const PlannedTask task = std::move(rank.tasks.front());
  rank.tasks.pop_front();
  ensure(task.position == rank.completed, "position {} comes after {} tasks", task.position,
         rank.completed);
  visitor.on_task(task);
  ++rank.completed;
  return true;
}

int PlanWalker::walk_message(int index, PlanVisitor& visitor) {
  auto& rank = ranks_[static_cast<std::size_t>(index)];
  if (rank.messages.empty()) return -1;
  const Message message = rank.messages.front();
  const int other = message.source == index ? message.destination : message.source;
  auto& from = ranks_[static_cast<std::size_t>(message.source)];
  auto& to = ranks_[static_cast<std::size_t>(message.destination)];
  auto& peer = ranks_[static_cast<std::size_t>(other)];
  if (peer.messages.empty() || peer.messages.front().index != message.index) return -1;
  if (from.completed <= message.produced_by || to.completed <= message.receive_after) return -1;
  visitor.on_message(message);
  for (Rank* side : {&from, &to}) {
    ensure(side->last_passed < message.index, "message {} comes after message {}", message.index,
           side->last_passed);
    side->messages.pop_front();
    side->last_passed = message.index;
  }
  return other;
}

std::string PlanWalker::stuck() const {
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    const auto& rank = ranks_[r];
    if (!rank.tasks.empty()) {
      return fmt::format("rank {} is stuck before {} (position {})", r,
                         to_string(rank.tasks.front().task), rank.tasks.front().position);
    }
    if (!rank.messages.empty()) {
      return fmt::format("rank {} is stuck before message {}", r, rank.messages.front().index);
    }
  }
  return "";
}

RankChunk for_rank(const PlanChunk& chunk, int rank) {
  RankChunk own;
  for (const auto& task : chunk.tasks) {
    if (task.rank == rank) own.tasks.push_back(task);
  }
  for (const auto& message : chunk.messages) {
    if (message.source == rank || message.destination == rank) own.messages.push_back(message);
  }
  return own;
}

}  // namespace seamwright::scheduling
