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
  std::string nccl;    // the version that its program can use; empty: none
};

enum class Transport {
  kHost,  // through host memory: device, pinned buffer, MPI or loopback
  kNccl,  // from GPU to GPU
};

struct TransportChoice {
  Transport transport = Transport::kHost;
  std::string reason;
};

// What the user asks for: NCCL where it is possible, nothing but NCCL, or never.
enum class TransportWish { kAuto, kNccl, kHost };
// "auto", "nccl" or "mpi"; throws kInvalidArgument for others.
TransportWish parse_transport_wish(const std::string& text);

// NCCL where every rank has a GPU of its own; it refuses two ranks on one. The same on every rank,
// since all see the same places. Throws kUnsupported, with the reason, where NCCL is asked for and
// impossible.
TransportChoice choose_transport(std::span<const RankPlace> ranks, TransportWish wish);

// Of `ranks`, the one at `rank` counted among those of its host: which of the host's GPUs it takes.
int rank_on_host(std::span<const std::string> hosts, int rank);

}  // namespace seamwright::comm
