// The NCCL, stream and event calls that the NCCL fabric uses, and nothing more of either library.
// Threads: calls on one communicator come from one thread at a time; stream and event calls from
// any thread that was bound.
//
// An interface, so that the fabric can run against a double that asserts NCCL's rules on a machine
// without a GPU. What passes there proves our side of the contract only.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "comm/buffer.h"

namespace seamwright::comm {

enum class NcclStatus {
  kSuccess,
  kInProgress,  // a nonblocking call that goes on: only ask for status(), or abort, until it is
                // over
  kError,
};

class NcclCalls {
 public:
  using Comm = void*;
  using Event = void*;

  virtual ~NcclCalls() = default;

  // Makes the calling thread use this rank's device.
  virtual void bind_thread() = 0;
  virtual bool device_can_access(const void* bytes) const = 0;

  // Streams and events throw kResource on failure. Events do not time.
  virtual Stream create_stream() = 0;
  virtual void destroy_stream(Stream stream) = 0;
  virtual Event create_event() = 0;
  virtual void destroy_event(Event event) = 0;
  virtual void record(Event event, Stream stream) = 0;
  virtual void make_wait(Stream stream, Event event) = 0;
  // kSuccess once the work before the last record() is over.
  virtual NcclStatus query(Event event) = 0;

  // Communicators, all nonblocking.
  virtual Bytes make_unique_id() = 0;
  virtual NcclStatus init_rank(Comm& comm, int size, const Bytes& unique_id, int rank) = 0;
  // The outcome of the last nonblocking call, and errors that
  // came later from the device or network.
  virtual NcclStatus status(Comm comm) = 0;
  virtual NcclStatus group_start() = 0;
  virtual NcclStatus group_end(Comm comm) = 0;
  virtual NcclStatus send(std::span<const std::byte> bytes, int peer, Comm comm, Stream stream) = 0;
  virtual NcclStatus recv(std::span<std::byte> bytes, int peer, Comm comm, Stream stream) = 0;
  virtual NcclStatus finalize(Comm comm) = 0;
  virtual void destroy(Comm comm) = 0;  // after finalize() succeeded
  virtual void abort(Comm comm) = 0;    // stops what is on the device, frees the communicator
  // What went wrong last, in words; `comm` may be null.
  virtual std::string last_error(Comm comm) = 0;
};

}  // namespace seamwright::comm
