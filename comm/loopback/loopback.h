// A gang whose ranks are threads of one process: for tests, simulations and one-process layouts.
// Threads: each rank's fabric as comm/fabric.h says; the gang itself from any thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>

#include "comm/fabric.h"

namespace seamwright::comm {

struct LoopbackOptions {
  // Nothing is buffered, and each rank runs its messages strictly one after the other in the order
  // started (groups as one): what NCCL on one stream promises, and nothing more. A plan that
  // depends on buffering hangs here instead of in production.
  bool rendezvous = false;
  // Otherwise: sends up to this size are copied aside and complete at once, as MPI does.
  std::size_t eager_bytes = std::size_t{64} << 10U;
  // How long a rank's progress thread polls before it sleeps (see Signal).
  std::chrono::nanoseconds spin{};
};

class LoopbackGang {
 public:
  explicit LoopbackGang(int size, const LoopbackOptions& options = {});
  ~LoopbackGang();  // fails what is outstanding; no rank may be inside a call
  LoopbackGang(const LoopbackGang&) = delete;
  LoopbackGang& operator=(const LoopbackGang&) = delete;

  int size() const;
  Fabric& fabric(int rank);
  // The rank falls silent, as a killed process does: its calls fail, the others find it lost.
  void lose(int rank);

 private:
  struct Gang;
  std::unique_ptr<Gang> gang_;
};

}  // namespace seamwright::comm
