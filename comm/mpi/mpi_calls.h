// Checked MPI calls. Private to comm/mpi.
// Threads: only the progress thread, which is the thread that started MPI.
#pragma once

#include <mpi.h>

#include <span>
#include <string>
#include <vector>

#include "comm/buffer.h"

namespace seamwright::comm {

// Throws kUnavailable with MPI's own words unless `code` is success.
void check_mpi(int code, const char* call);

// A communicator of its own, whose errors come back as codes.
class MpiChannel {
 public:
  MpiChannel() = default;
  explicit MpiChannel(MPI_Comm parent);
  void release();

  MPI_Request send(int peer, std::span<const std::byte> bytes, bool synchronous) const;
  MPI_Request receive(int peer, std::span<std::byte> bytes) const;
  // Takes the next incoming message, if any: who sent it, how long it is, and the handle to
  // receive exactly that one.
  struct Incoming {
    int from = 0;
    std::size_t size = 0;
    MPI_Message handle = MPI_MESSAGE_NULL;
  };
  bool probe(Incoming& incoming) const;
  static MPI_Request receive(Incoming& incoming, std::span<std::byte> bytes);

 private:
  MPI_Comm comm_ = MPI_COMM_NULL;
};

}  // namespace seamwright::comm
