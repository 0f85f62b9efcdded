// Wakes a rank of the same host that naps between polls: a counter per rank in shared memory.
// Private to comm/mpi.
// Threads: built and released on MPI's thread; ring() and wait() from any.
//
// MPI has no way to sleep until something arrives, so a rank naps and looks. On one host the sender
// can do better: ring after it has put a message into MPI's shared memory, and the receiver looks
// at once. Ranks of other hosts are found by looking alone.
#pragma once

#include <mpi.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <vector>

namespace seamwright::comm {

class MpiDoorbells {
 public:
  MpiDoorbells() = default;
  MpiDoorbells(const MpiDoorbells&) = delete;
  MpiDoorbells& operator=(const MpiDoorbells&) = delete;

  // Collective over MPI_COMM_WORLD.
  void open();
  void close();

  int local_ranks() const { return local_ranks_; }
  std::uint32_t own_rings() const { return own_->rings.load(std::memory_order_seq_cst); }
  void ring_own() { ring_bell(*own_); }
  // Does nothing for a rank of another host.
  void ring(int rank);
  // Returns when own_rings() != seen, or after `limit`.
  void wait(std::uint32_t seen, std::chrono::nanoseconds limit);

 private:
  struct alignas(64) Bell {
    std::atomic<std::uint32_t> rings{0};
    std::atomic<std::uint32_t> asleep{0};
  };
  static void ring_bell(Bell& bell);

  Bell fallback_;  // where shared memory cannot be had: rings of this process only
  Bell* own_ = &fallback_;
  std::vector<Bell*> by_rank_;  // of the world; null on other hosts
  int local_ranks_ = 1;
  MPI_Comm local_ = MPI_COMM_NULL;
  MPI_Win window_ = MPI_WIN_NULL;
};

}  // namespace seamwright::comm
