// How the plan's data lies in a message: raw bytes in the type it has in memory, nothing rounded.
// Threads: pure functions; safe anywhere on different data. pack()
// waits for pixels that are still arriving.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "comm/buffer.h"
#include "model/ops.h"
#include "scheduling/plan.h"
#include "worker/data_store.h"
#include "worker/datum_pool.h"

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
  // Activations go from device to device as they lie there: the fabric and the backend can.
  bool device_messages = false;
};

// Whether the message is one piece of memory at both ends, which nothing has to be copied for.
bool in_one_piece(const scheduling::Message& message, const WireContext& context);

// The message's bytes, message.bytes of them (kInternal if not): where they lie in `store` if they
// are one piece there, else gathered.
comm::ConstBuffer pack(const scheduling::Message& message, const DataStore& store,
                       const WireContext& context);

// Room for a message at its destination.
struct Landing {
  comm::Buffer buffer;
  std::shared_ptr<Datum> datum;  // where the buffer is one datum's own memory
};
Landing make_room(const scheduling::Message& message, const WireContext& context, DatumPool& pool);
// Once the bytes are there: one datum per message.data, in order.
std::vector<std::shared_ptr<Datum>> unpack(const scheduling::Message& message,
                                           const Landing& landing, const WireContext& context,
                                           DatumPool& pool);

// Whether the message goes from device to device: one part for each tensor, in the cut's order, and
// nothing copied at either end.
bool stays_on_device(const scheduling::Message& message, const WireContext& context);
std::vector<comm::ConstBuffer> device_parts(const scheduling::Message& message,
                                            const DataStore& store, const WireContext& context);
struct DeviceLanding {
  std::vector<comm::Buffer> parts;
  std::vector<std::shared_ptr<Datum>> data;  // one per message.data, in order
};
DeviceLanding make_device_room(const scheduling::Message& message, const WireContext& context);

}  // namespace seamwright::worker
