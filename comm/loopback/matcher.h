// Matches the sends and receives of a loopback gang, in order per pair of ranks. Private to comm.
// Threads: any; matches are handed out under no lock.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/error.h"
#include "comm/buffer.h"
#include "comm/operation_state.h"

namespace seamwright::comm {

// A run of operations of one rank that are in flight together.
struct LoopbackBatch;

struct LoopbackSend {
  std::shared_ptr<OperationState> operation;
  ConstBuffer bytes;
  std::shared_ptr<LoopbackBatch> batch;
};

struct LoopbackRecv {
  std::shared_ptr<OperationState> operation;
  Buffer bytes;
  std::shared_ptr<LoopbackBatch> batch;
};

struct LoopbackMatch {
  int from = 0;
  int to = 0;
  LoopbackSend send;
  LoopbackRecv recv;
};

class LoopbackMatcher {
 public:
  using Matches = std::vector<LoopbackMatch>;
  using Operations = std::vector<std::shared_ptr<OperationState>>;

  // `serial`: a rank's batches run one after the other (rendezvous mode).
  LoopbackMatcher(int size, bool serial);

  // Each call returns what can be copied now. An operation of a rank that was dropped is given back
  // in `refused` instead.
  Matches add_send(int from, int to, LoopbackSend send, std::optional<Error>& refused);
  Matches add_recv(int from, int to, LoopbackRecv recv, std::optional<Error>& refused);
  void begin_batch(int rank);
  Matches end_batch(int rank);
  // A match has been copied.
  Matches finish(const LoopbackMatch& match);
  // Forgets what `rank` still has waiting, and refuses it from now on.
  Operations drop(int rank, const Error& error);

 private:
  struct Lane {
    std::deque<std::shared_ptr<LoopbackBatch>> waiting;  // front: the one in flight
    std::shared_ptr<LoopbackBatch> open;                 // between begin_batch and end_batch
    std::optional<Error> dropped;
  };
  struct Channel {
    std::deque<LoopbackSend> sends;
    std::deque<LoopbackRecv> recvs;
  };

  Channel& channel(int from, int to);
  Lane& lane(int rank) { return lanes_[static_cast<std::size_t>(rank)]; }
  std::shared_ptr<LoopbackBatch> batch_for(int rank, bool& single);
  void launch(LoopbackBatch& batch, Matches& matches);
  void match_channel(int from, int to, Matches& matches);
  void seal(int rank, const std::shared_ptr<LoopbackBatch>& batch, Matches& matches);
  void retire(int rank, LoopbackBatch& batch, Matches& matches);

  const int size_;
  const bool serial_;
  std::mutex mutex_;
  std::vector<Lane> lanes_;
  std::vector<Channel> channels_;
};

}  // namespace seamwright::comm
