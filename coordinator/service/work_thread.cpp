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

}  // namespace

WorkThread::WorkThread(Ledger& ledger, Work tick, std::chrono::milliseconds interval)
    : ledger_(ledger), tick_(std::move(tick)), interval_(interval) {
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
    const bool full = error.code() == ErrorCode::kResource;
    ApiError refusal(full ? 507 : 500, "server_error", full ? "out_of_disk" : "store_failed", "",
                     error.what());
    refusal.retry_after_s = 30;
    throw refusal;
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
  std::exception_ptr commit_failure;
  try {
    ledger_.commit();
  } catch (...) {
    commit_failure = std::current_exception();
  }
  {
    const std::lock_guard lock(mutex_);
    const auto text = commit_failure ? text_of(commit_failure) : std::string();
    if (!text.empty() && text != trouble_) log_error("nothing can be stored: {}", text);
    trouble_ = text;
  }
  std::vector<Item> again;
  for (std::size_t i = 0; i < items.size(); ++i) {
    auto& item = items[i];
    const auto error = failures[i] ? failures[i] : commit_failure;
    if (commit_failure && !failures[i] && item.options.retry) {
      again.push_back(std::move(item));
    } else if (item.options.done) {
      item.options.done(error);
    } else if (failures[i]) {
      log_error("the service: {}", text_of(failures[i]));
    }
  }
  if (!commit_failure) return;
  std::unique_lock lock(mutex_);
  for (auto item = again.rbegin(); item != again.rend(); ++item) {
    queue_.push_front(std::move(*item));
  }
  changed_.wait_for(lock, kRetryDelay, [this] { return stopping_; });
  if (stopping_) queue_.clear();
}

}  // namespace seamwright::coordinator
