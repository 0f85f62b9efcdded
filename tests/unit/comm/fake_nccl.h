// A double of the NCCL and stream calls for one process: each rank is a thread, each stream too. It
// asserts NCCL's rules, takes its time, and fails on request.
// Threads: a world from any thread; each rank's calls as NcclCalls says, which is asserted.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "comm/loopback/matcher.h"
#include "comm/nccl/nccl_calls.h"
#include "comm/progress_queue.h"

namespace seamwright::comm::conformance {

class FakeNcclWorld : public std::enable_shared_from_this<FakeNcclWorld> {
 public:
  explicit FakeNcclWorld(int size);
  ~FakeNcclWorld();

  std::shared_ptr<NcclCalls> calls(int rank);

  // Which memory the device can access; all of it when not given.
  std::function<bool(const void*)> reaches;
  std::int64_t transfers();  // begun so far, on all ranks

  // An error that no call returns, found only by asking.
  void inject_error(int rank, const std::string& text);
  // What init_rank() answers from now on.
  void fail_init(const std::string& text);
  // While held, transfers that reach the head of their stream do not begin.
  void hold(bool held);
  bool was_aborted(int rank);
  // The rules that were broken, and what was never given back.
  std::vector<std::string> violations();

 private:
  friend class FakeNccl;
  struct Comm;
  struct Transfer {
    bool is_send = false;
    int peer = 0;
    std::span<const std::byte> source;
    std::span<std::byte> target;
  };

  void violate(const std::string& rule);
  Comm* enter(void* comm, const char* call, bool while_in_progress);
  void run_group(int rank, const std::vector<Transfer>& group);
  void copy(LoopbackMatcher::Matches matches);

  const int size_;
  LoopbackMatcher matcher_;
  std::mutex mutex_;  // everything below
  std::condition_variable changed_;
  bool held_ = false;
  std::string init_failure_;
  int joined_ = 0;
  std::vector<std::unique_ptr<Comm>> comms_;
  std::set<int> aborted_;
  std::vector<std::pair<int, std::shared_ptr<OperationState>>> stuck_;  // rank, transfer
  std::set<void*> streams_;
  std::int64_t transfers_ = 0;
  int live_events_ = 0;
  std::vector<std::string> violations_;
};

// Work of a test on a fake stream, as a kernel would be.
void run_on_fake_stream(Stream stream, std::function<void()> work);

}  // namespace seamwright::comm::conformance
