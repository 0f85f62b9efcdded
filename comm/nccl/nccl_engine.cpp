#include "comm/nccl/nccl_engine.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace seamwright::comm {

using std::chrono::microseconds;
using std::chrono::nanoseconds;

NcclEvents::~NcclEvents() {
  for (const NcclCalls::Event event : free_) calls_->destroy_event(event);
}

std::shared_ptr<void> NcclEvents::take() {
  NcclCalls::Event event = nullptr;
  {
    std::scoped_lock lock(mutex_);
    if (!free_.empty()) {
      event = free_.back();
      free_.pop_back();
    }
  }
  if (event == nullptr) {
    calls_->bind_thread();  // an event belongs to the device that is current when it is made
    event = calls_->create_event();
  }
  return {event, [pool = shared_from_this()](void* used) {
            std::scoped_lock lock(pool->mutex_);
            pool->free_.push_back(used);
          }};
}

NcclEngine::NcclEngine(int rank, int size, std::shared_ptr<NcclCalls> calls, NcclCalls::Comm comm,
                       const NcclOptions& options, std::function<void(const std::string&)> failed)
    : rank_(rank),
      calls_(std::move(calls)),
      options_(options),
      failed_(std::move(failed)),
      events_(std::make_shared<NcclEvents>(calls_)),
      mine_(static_cast<std::size_t>(size)),
      comm_(comm),
      stream_(calls_->create_stream()),
      theirs_(static_cast<std::size_t>(size)),
      next_watch_(Clock::now() + options.watch_interval),
      thread_([this] { run(); }) {}

NcclEngine::~NcclEngine() { stop(); }

void NcclEngine::stop() {
  {
    std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  signal_.notify();
  if (thread_.joinable()) thread_.join();
}

std::shared_ptr<void> NcclEngine::mark(Stream stream) {
  if (stream.native == nullptr) return nullptr;
  std::shared_ptr<void> event = events_->take();
  calls_->bind_thread();
  calls_->record(event.get(), stream);
  return event;
}

void NcclEngine::submit(NcclBatch batch) {
  batch.launch->done = events_->take();
  // order_before() must not block the host for longer than the launch takes.
  for (NcclItem& item : batch.items) {
    item.operation->set_stream_wait([launch = batch.launch, calls = calls_,
                                     state = std::weak_ptr(item.operation)](Stream stream) {
      launch->over.wait(false);
      if (!launch->failed) {
        calls->make_wait(stream, launch->done.get());
      } else if (const auto operation = state.lock()) {
        operation->wait();  // throws why
      }
    });
  }
  std::optional<Error> failure;
  {
    std::scoped_lock lock(mutex_);
    failure = failure_;
    if (!failure) {
      for (NcclItem& item : batch.items) {
        NcclPosted& posted = mine_[static_cast<std::size_t>(item.peer)];
        item.number = item.is_send ? posted.sends++ : posted.receives++;
      }
      submitted_.push_back(std::move(batch));
    }
  }
  if (failure) {
    fail_batch(batch, *failure);
  } else {
    signal_.notify();
  }
}

void NcclEngine::run_soon(std::function<void()> job) {
  {
    std::scoped_lock lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  signal_.notify();
}

void NcclEngine::fail_all(const Error& error) {
  {
    std::scoped_lock lock(mutex_);
    if (failure_) return;
    failure_ = error;
  }
  signal_.notify();
}

void NcclEngine::finish() {
  {
    std::scoped_lock lock(mutex_);
    finishing_ = true;
  }
  signal_.notify();
  if (thread_.joinable()) thread_.join();
}

void NcclEngine::run() {
  calls_->bind_thread();
  Clock::time_point last_moved = Clock::now();
  for (;;) {
    const std::uint64_t seen = signal_.epoch();
    bool moved = false;
    try {
      moved = look();
    } catch (const Error& error) {
      report(error.what());
    }
    const Clock::time_point now = Clock::now();
    if (moved) last_moved = now;
    if (!moved && wind_up()) break;
    if (moved) continue;
    // Idle: sleep until told or until the watchdog's turn. Busy: the device does not tell, so look
    // again after a quarter of the time already waited.
    nanoseconds nap = options_.watch_interval;
    if (launching_ || !in_flight_.empty() || finalizing_) {
      nap = std::clamp<nanoseconds>((now - last_moved) / 4, microseconds(2), options_.longest_nap);
    }
    signal_.wait_past(seen, now + nap);
  }
  calls_->destroy_stream(stream_);
}

bool NcclEngine::look() {
  bool moved = run_jobs();
  if (abort_if_failed()) return moved;
  moved |= settle_launch();
  if (!launching_ && comm_ != nullptr && !finalizing_) moved |= launch_next();
  moved |= complete_done();
  watch();
  return moved;
}

bool NcclEngine::run_jobs() {
  std::deque<std::function<void()>> jobs;
  {
    std::scoped_lock lock(mutex_);
    jobs.swap(jobs_);
  }
  for (const auto& job : jobs) job();
  return !jobs.empty();
}

// True if the gang is aborted. The communicator goes first: only then has the device let go of the
// buffers that the failing operations own.
bool NcclEngine::abort_if_failed() {
  std::optional<Error> failure;
  std::deque<NcclBatch> waiting;
  {
    std::scoped_lock lock(mutex_);
    if (!failure_) return false;
    failure = failure_;
    waiting.swap(submitted_);
  }
  if (comm_ != nullptr) calls_->abort(std::exchange(comm_, nullptr));
  for (NcclBatch& batch : in_flight_) fail_batch(batch, *failure);
  in_flight_.clear();
  if (launching_) fail_batch(*launching_, *failure);
  launching_.reset();
  for (NcclBatch& batch : waiting) fail_batch(batch, *failure);
  return true;
}

void NcclEngine::fail_batch(NcclBatch& batch, const Error& error) {
  batch.launch->failed = true;
  batch.launch->over = true;
  batch.launch->over.notify_all();
  for (NcclItem& item : batch.items) {
    item.let_go();
    item.operation->fail(error);
  }
}

void NcclEngine::peer_posted(int peer, const NcclPosted& more) {
  NcclPosted& posted = theirs_[static_cast<std::size_t>(peer)];
  posted.sends += more.sends;
  posted.receives += more.receives;
}

bool NcclEngine::peers_are_there(const NcclBatch& batch) const {
  return std::ranges::all_of(batch.items, [this](const NcclItem& item) {
    const NcclPosted& posted = theirs_[static_cast<std::size_t>(item.peer)];
    return item.peer == rank_ || item.number < (item.is_send ? posted.receives : posted.sends);
  });
}

bool NcclEngine::launch_next() {
  {
    std::scoped_lock lock(mutex_);
    if (submitted_.empty() || !peers_are_there(submitted_.front())) return false;
    launching_ = std::move(submitted_.front());
    submitted_.pop_front();
  }
  if (!enqueue(*launching_)) report("starting a transfer");
  settle_launch();
  return true;
}

bool NcclEngine::enqueue(NcclBatch& batch) {
  for (const NcclItem& item : batch.items) {
    if (item.ready) calls_->make_wait(stream_, item.ready.get());
  }
  if (calls_->group_start() == NcclStatus::kError) return false;
  bool good = true;
  for (const NcclItem& item : batch.items) {
    // Nothing to move: both ends know, and NCCL need not be asked.
    if (item.source.bytes.empty() && item.target.bytes.empty()) continue;
    const NcclStatus status = item.is_send
                                  ? calls_->send(item.source.bytes, item.peer, comm_, stream_)
                                  : calls_->recv(item.target.bytes, item.peer, comm_, stream_);
    good &= status != NcclStatus::kError;
  }
  // A group that was opened is closed, whatever happened inside it.
  return calls_->group_end(comm_) != NcclStatus::kError && good;
}

// A nonblocking launch may go on behind the call; only when it is over is the work on the stream,
// where an event can follow it.
bool NcclEngine::settle_launch() {
  if (!launching_ || comm_ == nullptr || reported_) return false;
  switch (calls_->status(comm_)) {
    case NcclStatus::kInProgress:
      return false;
    case NcclStatus::kError:
      report("a transfer");
      return false;
    case NcclStatus::kSuccess:
      break;
  }
  calls_->record(launching_->launch->done.get(), stream_);
  launching_->launch->over = true;
  launching_->launch->over.notify_all();
  in_flight_.push_back(std::move(*launching_));
  launching_.reset();
  return true;
}

bool NcclEngine::complete_done() {
  bool any = false;
  // One stream: in order.
  while (!in_flight_.empty()) {
    const NcclStatus status = calls_->query(in_flight_.front().launch->done.get());
    if (status == NcclStatus::kError) report("the device");
    if (status != NcclStatus::kSuccess) break;
    NcclBatch batch = std::move(in_flight_.front());
    in_flight_.pop_front();
    for (NcclItem& item : batch.items) {
      item.let_go();
      item.operation->complete();
    }
    any = true;
  }
  return any;
}

void NcclEngine::watch() {
  const Clock::time_point now = Clock::now();
  if (now < next_watch_ || comm_ == nullptr || finalizing_) return;
  next_watch_ = now + options_.watch_interval;
  if (calls_->status(comm_) == NcclStatus::kError) report("the watchdog");
}

void NcclEngine::report(const std::string& doing) {
  // The abort that follows ends the communicator; one report is enough.
  if (std::exchange(reported_, true)) return;
  failed_(
      fmt::format("NCCL, {}: {}", doing,
                  comm_ != nullptr ? calls_->last_error(comm_) : std::string("no communicator")));
}

// True when the thread may end.
bool NcclEngine::wind_up() {
  {
    std::scoped_lock lock(mutex_);
    if (!finishing_ && !stopping_) return false;
    if (!submitted_.empty() && !failure_) return false;
    if (!jobs_.empty()) return false;
  }
  if (comm_ == nullptr) return true;
  if (stopping_ && !finishing_) {
    calls_->abort(std::exchange(comm_, nullptr));
    return true;
  }
  if (launching_ || !in_flight_.empty()) return false;
  if (!std::exchange(finalizing_, true)) {
    finish_deadline_ = Clock::now() + options_.join_limit;
    if (calls_->finalize(comm_) == NcclStatus::kError) {
      calls_->abort(std::exchange(comm_, nullptr));
      return true;
    }
  }
  const NcclStatus status = calls_->status(comm_);
  if (status == NcclStatus::kInProgress && Clock::now() < finish_deadline_) return false;
  if (status == NcclStatus::kSuccess) {
    calls_->destroy(std::exchange(comm_, nullptr));
  } else {
    log_warning("an NCCL communicator did not finish: {}", calls_->last_error(comm_));
    calls_->abort(std::exchange(comm_, nullptr));
  }
  return true;
}

}  // namespace seamwright::comm
