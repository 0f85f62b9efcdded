// One rank at work: its tasks in their static order, its messages in the one global order, the two
// running beside each other.
// Threads: run() uses the calling thread for tasks and for messages that only have to be started,
// and one of its own for messages that have to be gathered first and for planning ahead.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_set>
#include <vector>

#include "comm/fabric.h"
#include "scheduling/planner.h"
#include "worker/task_executor.h"
#include "worker/wire_data.h"

namespace seamwright::worker {

struct RankEngineHooks {
  std::function<void(const scheduling::PlannedTask&)> task_starts;
  std::function<void(const scheduling::PlannedTask&)> task_done;
  // When a task ran, beside task_done.
  std::function<void(const scheduling::PlannedTask&, std::chrono::steady_clock::time_point begin,
                     std::chrono::steady_clock::time_point end)>
      task_timed;
  const std::atomic<bool>* stop = nullptr;  // checked before every task
  // Whether a task that ran may count as done as far as something beside the plan is concerned
  // (durable records); asked again after every wake(). Until then nothing that follows sees it.
  std::function<bool(const scheduling::PlannedTask&)> may_end;
  // Once, on any thread: ends waits inside a task.
  std::function<void(const Error&)> failed;
  std::function<void()> stopped;  // this rank stops before its last task: the others should too
};

// Hands out the plan piece by piece; false when it has ended.
using PlanSource = std::function<bool(scheduling::PlanChunk& chunk)>;
PlanSource plan_source(scheduling::Planner& planner);

// From the end of a task to the start of the next where nothing had to be waited for.
struct RuntimeCost {
  std::int64_t tasks = 0;
  double seconds = 0;
};

class RankEngine {
 public:
  // `fabric` may be null for a gang of one.
  RankEngine(int rank, PlanSource plan, TaskExecutor& runner, DataStore& store, WireContext wire,
             comm::Fabric* fabric, RankEngineHooks hooks);
  ~RankEngine();

  // Until every task of this rank is done, and every rank has ended. Throws kCancelled after a stop
  // of any rank, with no message left under way, so that the fabric can serve the next job;
  // kUnavailable when the gang was aborted.
  void run();

  // From any thread while run() runs.
  void wake();
  void end(const Error& error);  // kCancelled: as request_stop
  void request_stop();           // after the task under way

  std::int64_t bytes_sent() const { return bytes_sent_; }
  std::int64_t messages_sent() const { return messages_sent_; }
  std::int64_t tasks() const { return done_position_ + 1; }
  const RuntimeCost& runtime_cost() const { return runtime_cost_; }
  // What tasks that had run waited for may_end.
  double end_wait_s() const { return end_wait_s_; }

 private:
  // Tasks and messages that wait for their turn, under the lock.
  bool plan_wanted() const;
  bool message_may_go() const;
  bool inputs_there(const scheduling::PlannedTask& task) const;
  bool is_complete(std::int64_t index) const;

  bool refill();
  bool run_tasks();  // false: stopped before the last one
  bool run_until_stopped();
  std::optional<scheduling::PlannedTask> next_task(bool& waited);  // none: after the last one
  void task_done(const scheduling::PlannedTask& task);
  bool wait_for_inputs(const scheduling::PlannedTask& task);  // whether it had to
  bool wait_for_end(const scheduling::PlannedTask& task);

  void help();  // the thread beside the tasks
  enum class Who { kTaskThread, kHelper };
  void issue_messages(Who who);
  using SharedMessage = std::shared_ptr<const scheduling::Message>;  // with what waits for its end
  void issue(const SharedMessage& message);
  void send_next(const SharedMessage& message);
  void receive_next(const SharedMessage& message);
  void take(const scheduling::Message& message, std::vector<std::shared_ptr<Datum>> data);
  // From device to device: one operation a tensor, the message complete with the last of them.
  using Done = std::function<void(const Error*)>;
  void send_parts(const scheduling::Message& message, std::vector<comm::ConstBuffer> parts,
                  const Done& done);
  void receive_parts(const scheduling::Message& message, std::vector<comm::Buffer> parts,
                     const Done& done);
  void complete(std::int64_t index, const Error* error);

  // Every rank: completes the messages that a peer has issued and this rank has not, and says
  // whether all ranks have done all their tasks.
  bool settle(bool finished);
  void complete_for(int peer, std::int64_t sends, std::int64_t receives);
  std::optional<scheduling::Message> next_with(int peer, bool sending);
  void fail_with(std::exception_ptr error);
  // The fabric outlives this object, and its callbacks cannot be taken back.
  struct AbortLink {
    std::mutex mutex;
    RankEngine* engine = nullptr;
  };

  const int rank_;
  PlanSource plan_;
  TaskExecutor& runner_;
  DataStore& store_;
  WireContext wire_;
  comm::Fabric* fabric_;
  RankEngineHooks hooks_;

  std::mutex mutex_;
  // For the task thread and for the helper. Each is only told what it waits for: where ranks share
  // cores, a wake-up for nothing costs somebody a task switch.
  std::condition_variable task_wakes_, helper_wakes_;
  std::deque<scheduling::PlannedTask> tasks_;
  std::deque<scheduling::Message> messages_;
  // Own messages that are complete: all up to the watermark, and those in the set beyond it.
  std::deque<std::int64_t> issued_;  // in order, from the first incomplete one
  std::unordered_set<std::int64_t> completed_;
  std::int64_t watermark_ = -1;
  std::int64_t done_position_ = -1;
  std::int64_t in_flight_ = 0;
  const scheduling::PlannedTask* awaiting_ = nullptr;  // whose inputs the task thread waits for
  bool issuing_ = false;  // one thread at a time, so that the order stays
  bool plan_ended_ = false;
  bool tasks_ended_ = false;
  bool stopping_ = false;
  std::exception_ptr failure_;
  std::vector<std::int64_t> sends_issued_, receives_issued_;  // by peer
  std::int64_t bytes_sent_ = 0, messages_sent_ = 0;
  RuntimeCost runtime_cost_;
  double end_wait_s_ = 0;
  std::shared_ptr<AbortLink> abort_link_;
  const std::shared_ptr<DatumPool> pool_;
  std::thread helper_;
};

}  // namespace seamwright::worker
