#include "comm/mpi/doorbell.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ctime>
#include <new>

#include "base/log.h"
#include "comm/mpi/mpi_calls.h"

namespace seamwright::comm {
namespace {

static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

// Not the "private" kind: the word is shared between processes.
long futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value,
           const timespec* limit) {
  return syscall(SYS_futex, &word, operation, value, limit, nullptr, 0);
}

}  // namespace

void MpiDoorbells::open() {
  int size = 0;
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &size), "MPI_Comm_size");
  by_rank_.assign(static_cast<std::size_t>(size), nullptr);
  check_mpi(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local_),
            "MPI_Comm_split_type");
  check_mpi(MPI_Comm_set_errhandler(local_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_size(local_, &local_ranks_), "MPI_Comm_size");
  int world_rank = 0;
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &world_rank), "MPI_Comm_rank");
  std::vector<int> world_ranks(static_cast<std::size_t>(local_ranks_));
  check_mpi(MPI_Allgather(&world_rank, 1, MPI_INT, world_ranks.data(), 1, MPI_INT, local_),
            "MPI_Allgather");
  void* base = nullptr;
  const int code = MPI_Win_allocate_shared(sizeof(Bell), 1, MPI_INFO_NULL, local_, &base, &window_);
  int mine = code == MPI_SUCCESS ? 1 : 0;
  int all = 0;
  check_mpi(MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_MIN, local_), "MPI_Allreduce");
  if (all == 0) {
    log_warning("MPI offers no shared memory between ranks: messages are found by polling alone");
    window_ = MPI_WIN_NULL;
    return;
  }
  own_ = new (base) Bell;
  // Every bell must exist before anybody rings it.
  check_mpi(MPI_Barrier(local_), "MPI_Barrier");
  for (int r = 0; r < local_ranks_; ++r) {
    MPI_Aint bytes = 0;
    int unit = 0;
    void* bell = nullptr;
    check_mpi(MPI_Win_shared_query(window_, r, &bytes, &unit, &bell), "MPI_Win_shared_query");
    by_rank_[static_cast<std::size_t>(world_ranks[static_cast<std::size_t>(r)])] =
        static_cast<Bell*>(bell);
  }
}

void MpiDoorbells::close() {
  own_ = &fallback_;
  by_rank_.clear();
  if (window_ != MPI_WIN_NULL) check_mpi(MPI_Win_free(&window_), "MPI_Win_free");
  if (local_ != MPI_COMM_NULL) check_mpi(MPI_Comm_free(&local_), "MPI_Comm_free");
}

void MpiDoorbells::ring_bell(Bell& bell) {
  bell.rings.fetch_add(1, std::memory_order_seq_cst);
  // The sleeper announces itself before it looks at the count for the last time.
  if (bell.asleep.load(std::memory_order_seq_cst) != 0) {
    futex(bell.rings, FUTEX_WAKE, 1, nullptr);
  }
}

void MpiDoorbells::ring(int rank) {
  Bell* bell = by_rank_.empty() ? nullptr : by_rank_[static_cast<std::size_t>(rank)];
  if (bell != nullptr && bell != own_) ring_bell(*bell);
}

void MpiDoorbells::wait(std::uint32_t seen, std::chrono::nanoseconds limit) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit);
  const timespec time{static_cast<time_t>(seconds.count()),
                      static_cast<long>((limit - seconds).count())};
  own_->asleep.store(1, std::memory_order_seq_cst);
  if (own_rings() == seen) futex(own_->rings, FUTEX_WAIT, seen, &time);
  own_->asleep.store(0, std::memory_order_relaxed);
}

}  // namespace seamwright::comm
