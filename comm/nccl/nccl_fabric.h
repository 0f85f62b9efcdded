// The fabric over NCCL: messages between GPUs, everything else over a host fabric.
// Threads: as comm/fabric.h says; one thread inside makes the NCCL calls.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "comm/fabric.h"
#include "comm/nccl/nccl_calls.h"

namespace seamwright::comm {

struct NcclOptions {
  // How long all ranks together may take to join, and to finish.
  std::chrono::milliseconds join_limit{120000};
  // How often the watchdog asks for errors that no call returned.
  std::chrono::milliseconds watch_interval{100};
  // The longest the thread sleeps between looks at what is on the device.
  std::chrono::microseconds longest_nap{200};
};

// False in a build without CUDA and NCCL.
bool nccl_available();
std::string nccl_version();
// The real calls, for one device of this host.
std::shared_ptr<NcclCalls> make_nccl_calls(int device);

// Joins the ranks of `control`, a host fabric that from now on only this one uses: it carries mail,
// collectives, heartbeats and aborts. Every rank calls it. Throws, on every rank, if NCCL refuses
// (two ranks on one GPU) or not all join in time; `control` is then aborted.
//
// Messages in memory that the device reaches go over NCCL, all others over `control`, each kind in
// its own order. Those over NCCL run strictly one after the other on one stream of their own,
// groups as one, and only once both ends are posted, which ranks tell each other over `control`: a
// kernel of NCCL's that spins for a peer would hold up every call that waits for the whole device.
// Sends wait on the device, not on the host, for what their `stream` was doing, and order_before()
// makes a stream wait for a message once its other end is posted. NCCL compares no sizes: ranks
// that disagree hang or corrupt, so plans are compared before they start.
std::unique_ptr<Fabric> connect_nccl(std::shared_ptr<Fabric> control,
                                     std::shared_ptr<NcclCalls> calls,
                                     const NcclOptions& options = {});

}  // namespace seamwright::comm
