// How the plan's data lies in a message: raw bytes in the type it has in memory, nothing rounded.
// Threads: pure functions; safe anywhere on different data.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "comm/buffer.h"
#include "model/ops.h"
#include "scheduling/plan.h"
#include "worker/data_store.h"

namespace seamwright::worker {

// What crosses one stage cut, in the order it is sent.
struct CutTensor {
  std::string name;
  model::DType dtype = model::DType::kF32;
  model::Shape shape;  // for a full window
};
using CutLayout = std::vector<CutTensor>;

struct WireContext {
  std::size_t frame_size = 0;         // floats of one latent frame
  std::size_t picture_bytes = 0;      // of one decoded frame
  bool plain = false;                 // emulation: every datum is `values`
  bool carries_latents = false;       // decoded frames come with their latents
  std::vector<CutLayout> cuts;        // by visit
  model::Backend* backend = nullptr;  // where activations live
};

// The message's bytes, gathered from `store`; their number equals message.bytes (kInternal if not).
comm::Buffer pack(const scheduling::Message& message, const DataStore& store,
                  const WireContext& context);
// The reverse: one datum per message.data, in order.
std::vector<std::shared_ptr<Datum>> unpack(const scheduling::Message& message,
                                           std::span<const std::byte> bytes,
                                           const WireContext& context);

}  // namespace seamwright::worker
