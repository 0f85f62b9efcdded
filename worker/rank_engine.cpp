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
      abort_link_(std::make_shared<AbortLink>()) {
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
  if (messenger_.joinable()) messenger_.join();
}

void RankEngine::wake() {
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
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
    changed_.notify_all();
  }
  if (hooks_.failed) hooks_.failed(Error(ErrorCode::kCancelled, "stopped on request"));
}

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
  bool finished = run_until_stopped();
  {
    const std::lock_guard lock(mutex_);
    no_more_ = true;
    stopping_ = stopping_ || !finished;
    changed_.notify_all();
  }
  if (messenger_.joinable()) messenger_.join();
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
  changed_.wait(lock, [this] { return in_flight_ == 0; });
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

// Messages between two ranks are matched in order, so that counts say which of them one end has
// issued alone: the other end completes those with bytes that mean nothing.
bool RankEngine::settle(bool finished) {
  const auto size = static_cast<std::size_t>(fabric_->size());
  std::vector<std::int64_t> own = {finished ? 1 : 0};
  own.insert(own.end(), sends_issued_.begin(), sends_issued_.end());
  own.insert(own.end(), receives_issued_.begin(), receives_issued_.end());
  const auto all = fabric_->all_gather(std::as_bytes(std::span(own)));
  bool everyone = true;
  for (std::size_t peer = 0; peer < size; ++peer) {
    std::vector<std::int64_t> theirs(own.size());
    ensure(all[peer].size() == own.size() * sizeof(std::int64_t), "rank {} settles otherwise", peer);
    std::memcpy(theirs.data(), all[peer].data(), all[peer].size());
    everyone = everyone && theirs[0] != 0;
    const auto me = static_cast<std::size_t>(rank_);
    complete_for(static_cast<int>(peer), theirs[1 + size + me] - sends_issued_[peer],
                 theirs[1 + me] - receives_issued_[peer]);
  }
  return everyone;
}

void RankEngine::complete_for(int peer, std::int64_t sends, std::int64_t receives) {
  const auto ended = [this](const Error* error) {
    if (error != nullptr) fail_with(std::make_exception_ptr(*error));
    const std::lock_guard lock(mutex_);
    --in_flight_;
    changed_.notify_all();
  };
  for (const bool sending : {true, false}) {
    for (auto left = sending ? sends : receives; left > 0; --left) {
      const auto message = next_with(peer, sending);
      ensure(message.has_value(), "rank {} waits for a message that rank {} has not planned", peer,
             rank_);
      const auto buffer = comm::allocate_buffer(static_cast<std::size_t>(message->bytes));
      {
        const std::lock_guard lock(mutex_);
        ++in_flight_;
      }
      try {
        auto operation = sending ? fabric_->send(peer, buffer) : fabric_->recv(peer, buffer);
        operation.on_complete([ended, buffer](const Error* error) { ended(error); });
      } catch (...) {
        const std::lock_guard lock(mutex_);
        --in_flight_;
        throw;
      }
    }
  }
}

// The next message to or from the peer that was not issued; the messenger has ended.
std::optional<Message> RankEngine::next_with(int peer, bool sending) {
  while (true) {
    for (auto at = messages_.begin(); at != messages_.end(); ++at) {
      const bool to_peer = at->source == rank_ && at->destination == peer;
      const bool from_peer = at->destination == rank_ && at->source == peer;
      if (!(sending ? to_peer : from_peer)) continue;
      auto message = std::move(*at);
      messages_.erase(at);
      return message;
    }
    if (!refill()) return std::nullopt;
  }
}

bool RankEngine::run_tasks() {
  using Clock = std::chrono::steady_clock;
  std::optional<Clock::time_point> ended;
  while (true) {
    PlannedTask task;
    while (true) {
      {
        const std::lock_guard lock(mutex_);
        if (failure_) std::rethrow_exception(failure_);
        if (stopping_) return false;
        if (!tasks_.empty()) {
          task = std::move(tasks_.front());
          tasks_.pop_front();
          break;
        }
      }
      if (!refill()) return true;
      ended.reset();  // planning is not a cost of the task
    }
    if (hooks_.stop != nullptr && hooks_.stop->load()) return false;
    if (wait_for_inputs(task)) ended.reset();
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return false;
    }
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
    return failure_ || stopping_ || (arrived(task.receives) && arrived(task.sends_done));
  };
  const bool waits = !ready();
  if (waits) changed_.wait(lock, ready);
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
  if (waits) changed_.wait(lock, ready);
  end_wait_s_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (failure_) std::rethrow_exception(failure_);
  if (!may) fail(ErrorCode::kCancelled, "stopped before its records were durable");
  return waits;
}

void RankEngine::message_loop() {
  try {
    while (true) {
      Message message;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] {
          return failure_ || stopping_ || !messages_.empty() || no_more_;
        });
        if (failure_ || stopping_ || messages_.empty()) return;
        const Message& next = messages_.front();
        const auto gate = next.source == rank_ ? next.produced_by : next.receive_after;
        changed_.wait(lock, [&] { return failure_ || stopping_ || done_position_ >= gate; });
        if (failure_ || stopping_) return;
        message = std::move(messages_.front());
        messages_.pop_front();
        auto& issued = message.source == rank_ ? sends_issued_ : receives_issued_;
        const int peer = message.source == rank_ ? message.destination : message.source;
        ++issued[static_cast<std::size_t>(peer)];
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
