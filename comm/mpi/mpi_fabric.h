// The fabric over MPI: one rank per process, started by mpirun or srun.
// Threads: all MPI calls are made by one progress thread inside; the fabric as comm/fabric.h says.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "comm/fabric.h"

namespace seamwright::comm {

struct MpiOptions {
  // Sends complete only when the receive has begun, so that no plan can lean on MPI's buffering.
  bool synchronous_sends = false;
  // MPI counts in int, so longer messages travel in pieces; the same on every rank.
  std::size_t piece_bytes = std::size_t{1} << 30U;
  // Each rank tells rank 0 that it lives, and rank 0 tells each; silence for longer than the limit
  // counts as loss and aborts the gang. A limit of zero turns this off.
  std::chrono::milliseconds heartbeat_interval{500};
  std::chrono::milliseconds silence_limit{10000};
  // How long the progress thread polls without sleeping after it last moved something, and the
  // longest it then sleeps between looks. Negative: chosen from the cores and ranks of this host.
  std::chrono::microseconds hot_poll{-1};
  std::chrono::microseconds longest_nap{-1};
  // After an abort: how long to wait for the others before leaving without MPI_Finalize (which
  // would hang for ever on a dead rank).
  std::chrono::milliseconds farewell{2000};
};

// False in a build without MPI.
bool mpi_available();
// True if this process was started by mpirun, srun or another MPI launcher.
bool launched_by_mpi();
std::string mpi_version();

// Joins the ranks that were started together. Once per process: MPI cannot be started twice.
// Destroying the fabric without close() aborts the other ranks.
std::unique_ptr<Fabric> connect_mpi(const MpiOptions& options = {});

}  // namespace seamwright::comm
