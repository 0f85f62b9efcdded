#include "worker/rank_engine.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <span>

#include "base/error.h"

namespace seamwright::worker {

using scheduling::Message;
using scheduling::PlannedTask;

PlanSource plan_source(scheduling::Planner& planner) {
  return [&planner](scheduling::PlanChunk& chunk) {
    if (planner.done()) return false;
    chunk = planner.next_chunk();
    return true;
  };
}

RankEngine::RankEngine(int rank, PlanSource plan, TaskExecutor& runner, DataStore& store,
                       WireContext wire, comm::Fabric* fabric, RankEngineHooks hooks)
    : rank_(rank),
      plan_(std::move(plan)),
      runner_(runner),
      store_(store),
      wire_(std::move(wire)),
      fabric_(fabric),
      hooks_(std::move(hooks)),
      abort_link_(std::make_shared<AbortLink>()),
      pool_(DatumPool::make()) {
  abort_link_->engine = this;
  if (fabric_ == nullptr) return;
  sends_issued_.resize(static_cast<std::size_t>(fabric_->size()));
  receives_issued_.resize(sends_issued_.size());
  fabric_->on_abort([link = abort_link_](const Error& error) {
    const std::lock_guard lock(link->mutex);
    if (link->engine != nullptr) link->engine->end(error);
  });
}

RankEngine::~RankEngine() {
  {
    const std::lock_guard lock(abort_link_->mutex);
    abort_link_->engine = nullptr;
  }
  if (helper_.joinable()) helper_.join();
}

void RankEngine::wake() {
  const std::lock_guard lock(mutex_);
  task_wakes_.notify_all();
}

void RankEngine::end(const Error& error) {
  if (error.code() == ErrorCode::kCancelled) return request_stop();
  fail_with(std::make_exception_ptr(error));
}

void RankEngine::request_stop() {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
    task_wakes_.notify_all();
    helper_wakes_.notify_all();
  }
  if (hooks_.failed) hooks_.failed(Error(ErrorCode::kCancelled, "stopped on request"));
}

// How many tasks of this rank are planned ahead, where a thread is there to do it meanwhile.
constexpr std::size_t kTasksAhead = 32;

bool RankEngine::plan_wanted() const { return !plan_ended_ && tasks_.size() < kTasksAhead; }

// Takes over this rank's share of the next chunk; false when the plan has ended. A chunk's messages
// have to be known before its tasks, so both come together.
bool RankEngine::refill() {
  scheduling::PlanChunk chunk;
  const bool any = plan_(chunk);
  const std::lock_guard lock(mutex_);
  plan_ended_ = !any;
  for (auto& task : chunk.tasks) {
    if (task.rank == rank_) tasks_.push_back(std::move(task));
  }
  for (auto& message : chunk.messages) {
    if (message.source == rank_ || message.destination == rank_) {
      messages_.push_back(std::move(message));
    }
  }
  task_wakes_.notify_all();
  return any;
}

void RankEngine::run() {
  if (fabric_ != nullptr) helper_ = std::thread([this] { help(); });
  bool finished = run_until_stopped();
  {
    const std::lock_guard lock(mutex_);
    tasks_ended_ = true;
    stopping_ = stopping_ || !finished;
    helper_wakes_.notify_all();
  }
  if (helper_.joinable()) helper_.join();
  const auto failed = [this] {
    const std::lock_guard lock(mutex_);
    return failure_ != nullptr;
  };
  if (fabric_ != nullptr && !failed()) {
    try {
      if (!finished && hooks_.stopped) hooks_.stopped();
      finished = settle(finished);
    } catch (...) {
      fail_with(std::current_exception());
    }
  }
  if (fabric_ != nullptr && failed()) {
    try {
      std::rethrow_exception(failure_);
    } catch (const std::exception& error) {
      fabric_->abort(fmt::format("rank {}: {}", rank_, error.what()));
    }
  }
  std::unique_lock lock(mutex_);
  task_wakes_.wait(lock, [this] { return in_flight_ == 0; });
  if (failure_) std::rethrow_exception(failure_);
  if (!finished) fail(ErrorCode::kCancelled, "stopped on request");
}

// A task that was waiting for what a stop took away ends with kCancelled: no failure either.
bool RankEngine::run_until_stopped() {
  try {
    return run_tasks();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kCancelled) return false;
    fail_with(std::current_exception());
  } catch (...) {
    fail_with(std::current_exception());
  }
  return true;
}

// None after the last one, and after a stop.
std::optional<PlannedTask> RankEngine::next_task(bool& waited) {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      const auto known = [this] { return failure_ || stopping_ || !tasks_.empty() || plan_ended_; };
      if (fabric_ != nullptr && !known()) {
        waited = true;
        task_wakes_.wait(lock, known);
      }
      if (failure_) std::rethrow_exception(failure_);
      if (stopping_) return std::nullopt;
      if (!tasks_.empty()) {
        auto task = std::move(tasks_.front());
        tasks_.pop_front();
        if (fabric_ != nullptr && plan_wanted()) helper_wakes_.notify_one();
        return task;
      }
      if (plan_ended_) return std::nullopt;
    }
    waited = true;  // planning is not a cost of the task
    refill();
  }
}

bool RankEngine::run_tasks() {
  using Clock = std::chrono::steady_clock;
  Clock::time_point ended;
  bool waited = true;  // for anything since the last task
  while (true) {
    const auto task = next_task(waited);
    if (!task) {
      const std::lock_guard lock(mutex_);
      return !stopping_;
    }
    if (hooks_.stop != nullptr && hooks_.stop->load()) return false;
    waited = wait_for_inputs(*task) || waited;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return false;
    }
    if (hooks_.task_starts) hooks_.task_starts(*task);
    if (!waited) {
      ++runtime_cost_.tasks;
      runtime_cost_.seconds += std::chrono::duration<double>(Clock::now() - ended).count();
    }
    const auto begin = Clock::now();
    runner_.run(*task);
    ended = Clock::now();
    if (hooks_.task_timed) hooks_.task_timed(*task, begin, ended);
    waited = wait_for_end(*task);
    task_done(*task);
  }
}

void RankEngine::task_done(const PlannedTask& task) {
  {
    const std::lock_guard lock(mutex_);
    ensure(task.position == done_position_ + 1, "task {} is out of order",
           scheduling::to_string(task.task));
    done_position_ = task.position;
  }
  if (fabric_ != nullptr) issue_messages(Who::kTaskThread);
  if (hooks_.task_done) hooks_.task_done(task);
}

bool RankEngine::inputs_there(const PlannedTask& task) const {
  const auto arrived = [this](const std::vector<std::int64_t>& all) {
    return std::ranges::all_of(all, [this](std::int64_t index) { return is_complete(index); });
  };
  return arrived(task.receives) && arrived(task.sends_done);
}

bool RankEngine::wait_for_inputs(const PlannedTask& task) {
  if (task.receives.empty() && task.sends_done.empty()) return false;
  std::unique_lock lock(mutex_);
  const auto ready = [&] { return failure_ || stopping_ || inputs_there(task); };
  const bool waits = !ready();
  if (waits) {
    awaiting_ = &task;
    task_wakes_.wait(lock, ready);
    awaiting_ = nullptr;
  }
  if (failure_) std::rethrow_exception(failure_);
  return waits;
}

bool RankEngine::wait_for_end(const PlannedTask& task) {
  if (!hooks_.may_end || task.durable_level <= 0) return false;
  std::unique_lock lock(mutex_);
  bool may = false;
  const auto ready = [&] { return failure_ || (may = hooks_.may_end(task)) || stopping_; };
  const bool waits = !ready();
  const auto begin = std::chrono::steady_clock::now();
  if (waits) task_wakes_.wait(lock, ready);
  end_wait_s_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (failure_) std::rethrow_exception(failure_);
  if (!may) fail(ErrorCode::kCancelled, "stopped before its records were durable");
  return waits;
}

void RankEngine::fail_with(std::exception_ptr error) {
  {
    const std::lock_guard lock(mutex_);
    task_wakes_.notify_all();
    helper_wakes_.notify_all();
    if (failure_) return;
    failure_ = error;
  }
  if (!hooks_.failed) return;
  try {
    std::rethrow_exception(error);
  } catch (const Error& known) {
    hooks_.failed(known);
  } catch (const std::exception& other) {
    hooks_.failed(Error(ErrorCode::kInternal, other.what()));
  }
}

}  // namespace seamwright::worker
