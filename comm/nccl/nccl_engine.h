// The thread that owns an NCCL communicator: launches batches in order, watches the device, hands
// up mail. Private to comm/nccl.
// Threads: public calls from any thread; NCCL calls and callbacks on the engine's own.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "comm/nccl/nccl_fabric.h"
#include "comm/operation_state.h"
#include "comm/signal.h"

namespace seamwright::comm {

// Events are made once and used again.
class NcclEvents : public std::enable_shared_from_this<NcclEvents> {
 public:
  explicit NcclEvents(std::shared_ptr<NcclCalls> calls) : calls_(std::move(calls)) {}
  ~NcclEvents();
  // Goes back to the pool with its last owner.
  std::shared_ptr<void> take();

 private:
  std::shared_ptr<NcclCalls> calls_;
  std::mutex mutex_;
  std::vector<NcclCalls::Event> free_;
};

// What order_before() needs of a batch, after the batch itself is gone.
struct NcclLaunch {
  std::atomic<bool> over{false};  // launched, or never to be
  std::atomic<bool> failed{false};
  std::shared_ptr<void> done;  // recorded behind the batch
};

struct NcclItem {
  bool is_send = false;
  int peer = 0;
  std::shared_ptr<OperationState> operation;
  ConstBuffer source;
  Buffer target;
  std::shared_ptr<void> ready;  // event on the buffer's own stream, or null
  std::int64_t number = 0;      // among this rank's sends to the peer, or receives from it

  // The device is done with the buffers.
  void let_go() {
    source = {};
    target = {};
  }
};

// Sends and receives that one end of a pair of ranks has posted.
struct NcclPosted {
  std::int64_t sends = 0, receives = 0;
};

struct NcclBatch {
  std::vector<NcclItem> items;
  std::shared_ptr<NcclLaunch> launch = std::make_shared<NcclLaunch>();
};

class NcclEngine {
 public:
  // `failed` is called once, on the engine's thread, when NCCL reports an error.
  NcclEngine(int rank, int size, std::shared_ptr<NcclCalls> calls, NcclCalls::Comm comm,
             const NcclOptions& options, std::function<void(const std::string&)> failed);
  ~NcclEngine();

  // Records what `stream` is doing now, for an item to wait for; null for a null stream.
  std::shared_ptr<void> mark(Stream stream);
  void submit(NcclBatch batch);
  // What a peer has posted since it last said so. On the engine's thread. A batch is launched only
  // once the other end of each of its messages has been posted: on the device it would spin, take
  // room from the kernels that compute, and hold up every call that waits for the whole device.
  void peer_posted(int peer, const NcclPosted& more);
  // Runs on the engine's thread, between looks.
  void run_soon(std::function<void()> job);
  // Aborts the communicator, then fails all that is outstanding and all that comes later.
  void fail_all(const Error& error);
  // Ends the thread; an unfinished communicator is aborted. Not from the engine's thread.
  void stop();
  // After all ranks are done: finishes the communicator. Not from the engine's thread.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;

  void run();
  bool look();
  bool run_jobs();
  bool abort_if_failed();
  bool launch_next();
  bool peers_are_there(const NcclBatch& batch) const;
  bool enqueue(NcclBatch& batch);
  bool settle_launch();
  bool complete_done();
  void watch();
  void report(const std::string& doing);
  void fail_batch(NcclBatch& batch, const Error& error);
  bool wind_up();

  const int rank_;
  const std::shared_ptr<NcclCalls> calls_;
  const NcclOptions options_;
  const std::function<void(const std::string&)> failed_;
  const std::shared_ptr<NcclEvents> events_;

  Signal signal_;
  std::mutex mutex_;  // the members down to finishing_
  std::deque<NcclBatch> submitted_;
  std::deque<std::function<void()>> jobs_;
  std::vector<NcclPosted> mine_;  // by peer
  std::optional<Error> failure_;
  bool finishing_ = false;
  bool stopping_ = false;

  // Only the engine's thread.
  NcclCalls::Comm comm_;  // null once aborted or destroyed
  Stream stream_;
  std::vector<NcclPosted> theirs_;  // by peer
  std::optional<NcclBatch> launching_;
  std::deque<NcclBatch> in_flight_;
  bool finalizing_ = false;
  bool reported_ = false;
  Clock::time_point finish_deadline_;
  Clock::time_point next_watch_;

  std::thread thread_;
};

}  // namespace seamwright::comm
