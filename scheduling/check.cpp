#include "scheduling/check.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "scheduling/needs.h"
#include "scheduling/walk.h"

namespace seamwright::scheduling {
namespace {

// Follows the data of each rank through one legal execution.
class DataChecker : public PlanVisitor {
 public:
  explicit DataChecker(const Plan& plan) : ranks_(plan.ranks.size()) {}

  void on_task(const PlannedTask& task) override {
    auto& rank = ranks_[static_cast<std::size_t>(task.rank)];
    for (const auto& output : task.outputs) put(rank, output, to_string(task.task));
    for (const auto& id : task.inputs) use(rank, id, to_string(task.task));
    for (const auto& output : task.outputs) {
      if (output.uses == 0) rank.bytes -= output.bytes;
    }
  }

  void on_message(const Message& message) override {
    auto& from = ranks_[static_cast<std::size_t>(message.source)];
    auto& to = ranks_[static_cast<std::size_t>(message.destination)];
    const auto name = fmt::format("message {}", message.index);
    std::int64_t bytes = 0;
    for (const auto& ref : message.data) {
      use(from, ref.id, name);
      put(to, ref, name);
      bytes += ref.bytes;
    }
    if (bytes != message.bytes) problems.push_back(name + " has a wrong size");
  }

  void finish(const Plan& plan) {
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      for (const auto& [id, held] :
           std::map<DataId, DataRef>(ranks_[r].held.begin(), ranks_[r].held.end())) {
        problems.push_back(fmt::format("rank {} never uses {} up", r, to_string(id)));
      }
      std::int64_t fixed = 0;
      if (r < plan.live_bytes_max.size()) fixed = plan.live_bytes_max[r];
      if (ranks_[r].most > fixed) {
        problems.push_back(
            fmt::format("rank {} holds {} bytes, its bound is {}", r, ranks_[r].most, fixed));
      }
    }
  }

  std::vector<std::string> problems;

 private:
  struct Rank {
    std::unordered_map<DataId, DataRef, DataIdHash> held;
    std::int64_t bytes = 0;
    std::int64_t most = 0;
  };

  void put(Rank& rank, const DataRef& ref, const std::string& by) {
    rank.bytes += ref.bytes;
    rank.most = std::max(rank.most, rank.bytes);
    if (ref.uses == 0) return;
    if (!rank.held.emplace(ref.id, ref).second) {
      problems.push_back(fmt::format("{} brings {} a second time", by, to_string(ref.id)));
    }
  }

  void use(Rank& rank, const DataId& id, const std::string& by) {
    const auto found = rank.held.find(id);
    if (found == rank.held.end()) {
      problems.push_back(fmt::format("{} needs {}, which is not there", by, to_string(id)));
      return;
    }
    if (--found->second.uses > 0) return;
    rank.bytes -= found->second.bytes;
    rank.held.erase(found);
  }

  std::vector<Rank> ranks_;
};

// The forward and combine tasks of a video from the beginning, counted from the windows alone.
std::int64_t expected(const PlanRequest& r, TaskKind kind, const Layout& layout) {
  const std::int64_t rounds = windows_to_denoise(WindowSchedule(r.windows), r.steps) * r.rounds;
  return kind == TaskKind::kForward ? rounds * r.branches * layout.visits() : rounds;
}

void check_tasks(const Plan& plan, const ResumeState& resume, std::vector<std::string>& problems) {
  std::set<std::pair<Task, int>>
      seen;  // the same advance may run on several ranks, not twice on one
  std::set<Task> once;
  std::map<TaskKind, std::int64_t> counts;
  std::vector<int> emitted;
  for (std::size_t r = 0; r < plan.ranks.size(); ++r) {
    for (const auto& planned : plan.ranks[r]) {
      const Task& task = planned.task;
      if (planned.rank != static_cast<int>(r)) {
        problems.push_back(fmt::format("{} is in rank {}'s order", to_string(task), r));
      }
      const bool shared = task.kind == TaskKind::kAdvance || task.kind == TaskKind::kSource;
      const bool fresh =
          shared ? seen.emplace(task, planned.rank).second : once.insert(task).second;
      if (!fresh) problems.push_back(fmt::format("{} is there twice", to_string(task)));
      ++counts[task.kind];
      if (task.kind == TaskKind::kEmit) emitted.push_back(task.chunk);
    }
  }
  if (resume.empty()) {
    for (const auto kind : {TaskKind::kForward, TaskKind::kCombine}) {
      const auto count = expected(plan.request, kind, plan.layout);
      if (counts[kind] != count) {
        problems.push_back(
            fmt::format("{} {} tasks, {} expected", counts[kind], to_string(kind), count));
      }
    }
  }
  const int grid = plan.request.decode_frames;
  const int end = (plan.request.windows.frames + grid - 1) / grid;
  std::vector<int> chunks;
  for (int chunk = resume.first_missing_frame / grid; chunk < end; ++chunk) {
    if (resume.first_missing_frame < plan.request.windows.frames) chunks.push_back(chunk);
  }
  if (emitted != chunks) problems.push_back("the chunks are not emitted in order, each once");
}

}  // namespace

std::vector<std::string> check_plan(const Plan& plan, const ResumeState& resume) {
  DataChecker checker(plan);
  check_tasks(plan, resume, checker.problems);
  PlanWalker walker(static_cast<int>(plan.ranks.size()));
  for (const auto& tasks : plan.ranks) {
    for (const auto& task : tasks) walker.add(task);
  }
  for (const auto& message : plan.messages) walker.add(message);
  const auto stuck = walker.run(checker);
  if (!stuck.empty()) {
    checker.problems.push_back(stuck);
  } else {
    checker.finish(plan);
  }
  return std::move(checker.problems);
}

}  // namespace seamwright::scheduling
