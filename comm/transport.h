// Which fabric carries the messages of a gang whose ranks compute on GPUs.
// Threads: pure.
#pragma once

#include <span>
#include <string>

namespace seamwright::comm {

// Where one rank computes.
struct RankPlace {
  std::string host;
  std::string device;  // its GPU's PCI address; empty: a processor
};

enum class Transport {
  kHost,  // through host memory: device, pinned buffer, MPI or loopback
  kNccl,  // from GPU to GPU
};

struct TransportChoice {
  Transport transport = Transport::kHost;
  std::string reason;
};

// NCCL where every rank has a GPU of its own; it refuses two ranks on one. The same on every rank,
// since all see the same places.
TransportChoice choose_transport(std::span<const RankPlace> ranks, bool nccl_available);

}  // namespace seamwright::comm
