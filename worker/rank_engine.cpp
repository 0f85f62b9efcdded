#include "worker/rank_engine.h"

#include <algorithm>
#include <chrono>

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
      abort_link_(std::make_shared<AbortLink>()) {
  abort_link_->engine = this;
  if (fabric_ == nullptr) return;
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
  if (messenger_.joinable()) messenger_.join();
}

void RankEngine::wake() {
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

void RankEngine::end(const Error& error) { fail_with(std::make_exception_ptr(error)); }

// Takes over this rank's share of the next chunk; false when the plan has ended. The message loop
// needs the chunk's messages before the task loop needs its tasks, so both come together.
bool RankEngine::refill() {
  scheduling::PlanChunk chunk;
  if (!plan_(chunk)) return false;
  const std::lock_guard lock(mutex_);
  for (auto& task : chunk.tasks) {
    if (task.rank == rank_) tasks_.push_back(std::move(task));
  }
  for (auto& message : chunk.messages) {
    if (message.source == rank_ || message.destination == rank_) {
      messages_.push_back(std::move(message));
    }
  }
  changed_.notify_all();
  return true;
}

void RankEngine::run() {
  if (fabric_ != nullptr) messenger_ = std::thread([this] { message_loop(); });
  try {
    run_tasks();
  } catch (...) {
    fail_with(std::current_exception());
  }
  {
    const std::lock_guard lock(mutex_);
    no_more_ = true;
    changed_.notify_all();
  }
  if (messenger_.joinable()) messenger_.join();
  std::unique_lock lock(mutex_);
  if (failure_ && fabric_ != nullptr) {
    const auto failure = failure_;
    lock.unlock();
    try {
      std::rethrow_exception(failure);
    } catch (const std::exception& error) {
      fabric_->abort(fmt::format("rank {}: {}", rank_, error.what()));
    }
    lock.lock();
  }
  changed_.wait(lock, [this] { return in_flight_ == 0; });
  if (failure_) std::rethrow_exception(failure_);
}

void RankEngine::run_tasks() {
  using Clock = std::chrono::steady_clock;
  std::optional<Clock::time_point> ended;
  while (true) {
    PlannedTask task;
    while (true) {
      {
        const std::lock_guard lock(mutex_);
        if (failure_) std::rethrow_exception(failure_);
        if (!tasks_.empty()) {
          task = std::move(tasks_.front());
          tasks_.pop_front();
          break;
        }
      }
      if (!refill()) return;
      ended.reset();  // planning is not a cost of the task
    }
    if (hooks_.stop != nullptr && hooks_.stop->load()) {
      fail(ErrorCode::kCancelled, "stopped on request");
    }
    if (wait_for_inputs(task)) ended.reset();
    if (hooks_.task_starts) hooks_.task_starts(task);
    if (ended) {
      ++runtime_cost_.tasks;
      runtime_cost_.seconds += std::chrono::duration<double>(Clock::now() - *ended).count();
    }
    const auto begin = Clock::now();
    runner_.run(task);
    ended = Clock::now();
    if (hooks_.task_timed) hooks_.task_timed(task, begin, *ended);
    if (wait_for_end(task)) ended.reset();
    {
      const std::lock_guard lock(mutex_);
      ensure(task.position == done_position_ + 1, "task {} is out of order",
             scheduling::to_string(task.task));
      done_position_ = task.position;
    }
    changed_.notify_all();
    if (hooks_.task_done) hooks_.task_done(task);
  }
}

bool RankEngine::wait_for_inputs(const PlannedTask& task) {
  if (task.receives.empty() && task.sends_done.empty()) return false;
  std::unique_lock lock(mutex_);
  const auto arrived = [&](const std::vector<std::int64_t>& all) {
    return std::all_of(all.begin(), all.end(),
                       [&](std::int64_t index) { return is_complete(index); });
  };
  const auto ready = [&] {
    return failure_ || (arrived(task.receives) && arrived(task.sends_done));
  };
  const bool waits = !ready();
  if (waits) changed_.wait(lock, ready);
  if (failure_) std::rethrow_exception(failure_);
  return waits;
}

bool RankEngine::wait_for_end(const PlannedTask& task) {
  if (!hooks_.may_end || task.durable_level <= 0) return false;
  std::unique_lock lock(mutex_);
  const auto ready = [&] { return failure_ || hooks_.may_end(task); };
  const bool waits = !ready();
  const auto begin = std::chrono::steady_clock::now();
  if (waits) changed_.wait(lock, ready);
  end_wait_s_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (failure_) std::rethrow_exception(failure_);
  return waits;
}

void RankEngine::message_loop() {
  try {
    while (true) {
      Message message;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return failure_ || !messages_.empty() || no_more_; });
        if (failure_ || messages_.empty()) return;
        message = std::move(messages_.front());
        messages_.pop_front();
        const auto gate = message.source == rank_ ? message.produced_by : message.receive_after;
        changed_.wait(lock, [&] { return failure_ || done_position_ >= gate; });
        if (failure_) return;
        ++in_flight_;
        issued_.push_back(message.index);
      }
      try {
        if (message.source == rank_) {
          send_next(message);
        } else {
          receive_next(message);
        }
      } catch (...) {
        // Refused before it began, as by a fabric that was aborted a moment ago: nothing will
        // complete it, and run() must not wait for it.
        const std::lock_guard lock(mutex_);
        --in_flight_;
        throw;
      }
    }
  } catch (...) {
    fail_with(std::current_exception());
  }
}

void RankEngine::send_next(const Message& message) {
  auto buffer = pack(message, store_, wire_);
  for (const auto& ref : message.data) store_.use(ref.id);
  bytes_sent_ += message.bytes;
  ++messages_sent_;
  fabric_->send(message.destination, buffer)
      .on_complete([this, index = message.index](const Error* error) { complete(index, error); });
}

void RankEngine::receive_next(const Message& message) {
  const auto buffer = comm::allocate_buffer(static_cast<std::size_t>(message.bytes));
  fabric_->recv(message.source, buffer).on_complete([this, message, buffer](const Error* error) {
    if (error == nullptr) {
      try {
        auto data = unpack(message, buffer.bytes, wire_);
        for (std::size_t i = 0; i < data.size(); ++i) {
          store_.put(message.data[i], std::move(data[i]));
        }
      } catch (...) {
        fail_with(std::current_exception());
      }
    }
    complete(message.index, error);
  });
}

void RankEngine::complete(std::int64_t index, const Error* error) {
  if (error != nullptr) fail_with(std::make_exception_ptr(*error));
  const std::lock_guard lock(mutex_);
  completed_.insert(index);
  while (!issued_.empty() && completed_.erase(issued_.front()) > 0) {
    watermark_ = issued_.front();
    issued_.pop_front();
  }
  --in_flight_;
  changed_.notify_all();
}

bool RankEngine::is_complete(std::int64_t index) const {
  return index <= watermark_ || completed_.contains(index);
}

void RankEngine::fail_with(std::exception_ptr error) {
  {
    const std::lock_guard lock(mutex_);
    changed_.notify_all();
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
