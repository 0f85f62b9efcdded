// The one thread that changes anything: takes small pieces of work in order, makes what they did
// durable in one transaction, then answers.
// Threads: post and call from any thread; the work itself runs on the thread of this object.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"
#include "coordinator/service/ledger.h"

namespace seamwright::coordinator {

// What a client is told of a request that could not be made durable: 507 or 500.
ApiError store_refusal(const Error& error);

class WorkThread {
 public:
  using Work = std::function<void(Ledger&)>;
  struct Options {
    bool urgent = true;  // otherwise it waits for the next tick, to share its commit
    bool retry = false;  // tried again when it could not be made durable (full disk)
    // After the commit, or with what went wrong.
    std::function<void(std::exception_ptr)> done;
  };

  // `tick` runs in every batch, after the work, and at least once per interval.
  WorkThread(Ledger& ledger, Work tick, std::chrono::milliseconds interval);
  ~WorkThread();
  WorkThread(const WorkThread&) = delete;
  WorkThread& operator=(const WorkThread&) = delete;

  // Once. What is posted before waits until then.
  void start();
  // False when the thread has been stopped.
  bool post(Work work, Options options);
  bool post(Work work) { return post(std::move(work), Options{}); }
  // Posts and waits until it is durable; throws what it threw. ApiError 503 after stop().
  void call(const Work& work);
  // Finishes what is posted, then ends.
  void stop();
  // Why the last commit failed; "" = it went well.
  std::string trouble() const;

 private:
  struct Item {
    Work work;
    Options options;
  };
  void loop();
  void run_batch(std::vector<Item> items);
  void run_alone(Item item);  // in a commit of its own
  std::exception_ptr commit();
  void set_trouble(const std::exception_ptr& commit_failure);
  static void tell(const Item& item, const std::exception_ptr& error);
  // These are tried again first.
  void wait_for_disk(std::vector<Item> again);
  std::exception_ptr run_item(const Work& work);

  Ledger& ledger_;
  const Work tick_;
  const std::chrono::milliseconds interval_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> queue_;
  bool urgent_ = false, stopping_ = false;
  std::string trouble_;
  std::thread thread_;
};

}  // namespace seamwright::coordinator
