#include "coordinator/service/work_thread.h"

#include <future>

#include "base/error.h"
#include "base/log.h"

namespace seamwright::coordinator {
namespace {

constexpr std::size_t kBatchMax = 256;
// A disk that was full a moment ago probably still is.
constexpr std::chrono::milliseconds kRetryDelay{500};

std::string text_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    return e.what();
  }
}

// It may pass; everything else is the fault of what was to be stored.
bool is_disk_trouble(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    return e.code() == ErrorCode::kResource || e.code() == ErrorCode::kIo ||
           e.code() == ErrorCode::kCorrupt;
  } catch (const std::bad_alloc&) {
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace

// Paths and advice to operators are for the log.
ApiError store_refusal(const Error& error) {
  log_error("a request could not be stored: {}", error.what());
  const bool full = error.code() == ErrorCode::kResource;
  ApiError refusal(full ? 507 : 500, "server_error", full ? "out_of_disk" : "store_failed", "",
                   full ? "the server's disk is full: try again when there is room"
                        : "the server could not store this: try again later");
  refusal.retry_after_s = 30;
  return refusal;
}

WorkThread::WorkThread(Ledger& ledger, Work tick, std::chrono::milliseconds interval)
    : ledger_(ledger), tick_(std::move(tick)), interval_(interval) {}

void WorkThread::start() {
  thread_ = std::thread([this] { loop(); });
}

WorkThread::~WorkThread() { stop(); }

bool WorkThread::post(Work work, Options options) {
  const std::lock_guard lock(mutex_);
  if (stopping_) return false;
  urgent_ = urgent_ || options.urgent;
  queue_.push_back({std::move(work), std::move(options)});
  if (urgent_) changed_.notify_all();
  return true;
}

void WorkThread::call(const Work& work) {
  ensure(std::this_thread::get_id() != thread_.get_id(), "the service waits for itself");
  std::promise<void> promise;
  auto future = promise.get_future();
  Options options;
  options.done = [&promise](const std::exception_ptr& error) {
    if (error) {
      promise.set_exception(error);
    } else {
      promise.set_value();
    }
  };
  if (!post(work, std::move(options))) {
    ApiError error(503, "server_error", "shutting_down", "", "the service is shutting down");
    error.retry_after_s = 5;
    throw error;
  }
  try {
    future.get();
  } catch (const Error& error) {
    throw store_refusal(error);
  }
}

void WorkThread::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

std::string WorkThread::trouble() const {
  const std::lock_guard lock(mutex_);
  return trouble_;
}

void WorkThread::loop() {
  auto next_tick = std::chrono::steady_clock::now();
  while (true) {
    std::vector<Item> items;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_until(lock, next_tick, [this] { return urgent_ || stopping_; });
      while (!queue_.empty() && items.size() < kBatchMax) {
        items.push_back(std::move(queue_.front()));
        queue_.pop_front();
      }
      urgent_ = !queue_.empty();
      if (stopping_ && items.empty()) return;
    }
    run_batch(std::move(items));
    next_tick = std::chrono::steady_clock::now() + interval_;
  }
}

std::exception_ptr WorkThread::run_item(const Work& work) {
  ledger_.begin_item();
  try {
    work(ledger_);
    ledger_.keep_item();
    return nullptr;
  } catch (...) {
    ledger_.drop_item();
    return std::current_exception();
  }
}

void WorkThread::run_batch(std::vector<Item> items) {
  std::vector<std::exception_ptr> failures;
  for (const auto& item : items) failures.push_back(run_item(item.work));
  if (const auto error = run_item(tick_)) log_error("the service's tick: {}", text_of(error));
  const auto commit_failure = commit();
  const bool disk = commit_failure && is_disk_trouble(commit_failure);
  if (commit_failure && !disk && !items.empty()) {
    // One of them, or the tick, cannot be stored whatever the disk does: nobody else goes with it.
    for (auto& item : items) run_alone(std::move(item));
    return;
  }
  set_trouble(commit_failure);
  std::vector<Item> again;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (disk && !failures[i] && items[i].options.retry) {
      again.push_back(std::move(items[i]));
    } else if (items[i].options.done || failures[i]) {
      tell(items[i], failures[i] ? failures[i] : commit_failure);
    }
  }
  if (disk) wait_for_disk(std::move(again));
}

void WorkThread::run_alone(Item item) {
  auto failure = run_item(item.work);
  if (!failure) {
    failure = commit();
    if (failure && is_disk_trouble(failure) && item.options.retry) {
      std::vector<Item> again;
      again.push_back(std::move(item));
      return wait_for_disk(std::move(again));
    }
  }
  tell(item, failure);
}

// What went wrong, or null.
std::exception_ptr WorkThread::commit() {
  try {
    ledger_.commit();
    return nullptr;
  } catch (...) {
    return std::current_exception();
  }
}

void WorkThread::set_trouble(const std::exception_ptr& commit_failure) {
  const auto text = commit_failure ? text_of(commit_failure) : std::string();
  const std::lock_guard lock(mutex_);
  if (!text.empty() && text != trouble_) log_error("nothing can be stored: {}", text);
  trouble_ = text;
}

void WorkThread::tell(const Item& item, const std::exception_ptr& error) {
  if (item.options.done) {
    item.options.done(error);
  } else if (error) {
    log_error("the service: {}", text_of(error));
  }
}

void WorkThread::wait_for_disk(std::vector<Item> again) {
  std::unique_lock lock(mutex_);
  for (auto item = again.rbegin(); item != again.rend(); ++item) {
    queue_.push_front(std::move(*item));
  }
  changed_.wait_for(lock, kRetryDelay, [this] { return stopping_; });
  if (stopping_) queue_.clear();
}

}  // namespace seamwright::coordinator
