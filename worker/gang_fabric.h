// How the messages of a gang travel: over its host fabric alone, or over NCCL beside it where every
// rank has a GPU of its own; and which of its host's GPUs each rank takes.
// Threads: connect_gang() is called once by every rank.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/fabric.h"
#include "comm/nccl/nccl_fabric.h"
#include "comm/transport.h"
#include "model/cuda/cuda_backend.h"

namespace seamwright::worker {

struct GangFabricOptions {
  comm::TransportWish wish = comm::TransportWish::kAuto;
  bool gpus = true;  // false: no job of this gang computes on one
  // What this host has; tests have other hosts.
  std::function<std::vector<model::CudaDevice>()> devices = &model::cuda_devices;
  std::function<std::string()> nccl = {};  // its version, empty: none; the build's when not given
  std::function<std::shared_ptr<comm::NcclCalls>(int device)> nccl_calls = &comm::make_nccl_calls;
};

struct GangFabric {
  std::shared_ptr<comm::Fabric> fabric;
  comm::TransportChoice choice;
  int rank_on_host = 0;
  // "messages go over NCCL, from GPU to GPU: every rank has a GPU of its own"; empty where nothing
  // had to be chosen.
  std::string note;
};

// `control` carries mail, collectives and what lies in host memory in either case. Throws
// kUnsupported on every rank where NCCL was asked for and is impossible, kUnavailable where it
// cannot connect.
GangFabric connect_gang(std::shared_ptr<comm::Fabric> control,
                        const GangFabricOptions& options = {});

}  // namespace seamwright::worker
