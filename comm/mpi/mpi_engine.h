// The thread that owns MPI: starts requests, polls them, takes mail in, naps in between. Private to
// comm/mpi.
// Threads: public calls from any thread; every MPI call and every sink call on the engine's own.
#pragma once

#include <deque>
#include <future>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "comm/liveness.h"
#include "comm/mpi/doorbell.h"
#include "comm/mpi/mpi_calls.h"
#include "comm/mpi/mpi_fabric.h"
#include "comm/operation_state.h"

namespace seamwright::comm {

struct MpiWorld {
  int rank = 0;
  int size = 1;
  int local_size = 1;  // ranks on this host
};

// How long to poll hot after something moved, and the longest nap between polls after that.
struct PollPolicy {
  std::chrono::nanoseconds hot{};
  std::chrono::nanoseconds longest_nap{};
  // The longest nap while nothing large is under way and every rank can ring.
  std::chrono::nanoseconds quiet_nap{};
  // The nap grows with the idle time, so that it delays nothing by more than a quarter of the time
  // already waited.
  std::chrono::nanoseconds nap_after(std::chrono::nanoseconds idle, bool quiet) const;
};
PollPolicy choose_poll_policy(const MpiOptions& options, int ranks, int local_ranks, int cores);

// What the engine found; set by the fabric.
struct MpiSink {
  std::function<void(int from, Bytes mail)> mail;
  std::function<void(int peer, const std::string& how)> lost;
  std::function<void(const std::string& what)> failed;
};

class MpiEngine {
 public:
  explicit MpiEngine(const MpiOptions& options);
  ~MpiEngine();

  const MpiWorld& world() const { return world_; }
  void activate(MpiSink sink);

  void send(int peer, std::shared_ptr<OperationState> operation, ConstBuffer bytes);
  void recv(int peer, std::shared_ptr<OperationState> operation, Buffer bytes);
  void post(int peer, std::shared_ptr<OperationState> operation, std::shared_ptr<const Bytes> mail);
  // Fails all that is outstanding and all that comes later. Their requests stay with MPI, and their
  // buffers alive, until the process ends.
  void fail_all(const Error& error);
  // Ends the thread: at once after an orderly close, else after saying farewell.
  void finish(bool orderly);

 private:
  using Clock = std::chrono::steady_clock;
  enum class Kind { kSend, kRecv, kMailOut, kMailIn };
  // A started or waiting request with everything it needs to stay alive.
  struct Flight {
    Kind kind = Kind::kSend;
    int peer = 0;
    std::shared_ptr<OperationState> operation;  // null for incoming mail
    ConstBuffer source;
    Buffer target;
    std::shared_ptr<Bytes> mail;
    std::shared_ptr<std::size_t> left{};  // of a message in pieces: those under way
  };
  struct ArrivingMail {
    std::shared_ptr<Bytes> bytes;
    bool complete = false;
  };

  void run(std::promise<MpiWorld>& started);
  void start_mpi();
  void stop_mpi();
  void loop();
  bool poll_once();
  bool start_submitted();
  void start(Flight flight);
  void start_one(Flight flight);
  bool test_flights();
  void land(Flight flight, int code, const MPI_Status& status);
  bool probe_mail();
  void hand_up_mail(int from);
  void keep_alive(Clock::time_point now);
  void fail_flights();
  void report(const std::string& what);
  void submit(Flight flight);
  bool may_leave(Clock::time_point now);
  void say_bye();
  bool large_under_way() const;

  const MpiOptions options_;
  MpiWorld world_;
  PollPolicy policy_;
  MpiSink sink_;

  std::mutex mutex_;  // the members down to finish_requested_
  std::vector<Flight> submitted_;
  std::optional<Error> failure_;
  bool active_ = false;
  bool failure_is_new_ = false;
  std::optional<bool> finish_requested_;  // value: orderly

  MpiDoorbells bells_;

  // Only the engine's thread.
  MpiChannel messages_;
  MpiChannel mail_;
  std::vector<MPI_Request> requests_;  // parallel to flights_
  std::vector<Flight> flights_;
  std::vector<int> completed_;
  std::vector<MPI_Status> statuses_;
  std::vector<std::deque<ArrivingMail>> arriving_;  // per sender, in order
  std::optional<Liveness> liveness_;
  Clock::time_point last_moved_;
  std::optional<Clock::time_point> farewell_end_;
  std::vector<bool> bye_from_;
  bool broken_ = false;

  std::thread thread_;
};

}  // namespace seamwright::comm
