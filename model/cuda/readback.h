// Results on their way to the host through pinned buffers, behind the compute stream and beside
// whatever the host does meanwhile.
// Threads: start() from the thread that computes; what it returns from any.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>

#include "model/cuda/calls.h"

namespace seamwright::model::cuda {

// The copies run on the compute stream itself: each is behind the work that makes its bytes and
// before whatever uses their memory again, so that nothing on the device has to wait for the host.
class Readbacks {
 public:
  // Copies under way at a time; one more takes over the oldest one's buffer and collects it first.
  static constexpr std::size_t kAtOnce = 2;

  Readbacks(std::shared_ptr<CudaCalls> calls, Stream compute);
  ~Readbacks();
  Readbacks(const Readbacks&) = delete;
  Readbacks& operator=(const Readbacks&) = delete;

  // `host` must stay until the result has gone. The result may outlive this object.
  std::unique_ptr<Readback> start(const void* device, std::span<std::byte> host);

 private:
  class Buffer;
  class UnderWay;
  std::shared_ptr<CudaCalls> calls_;
  Stream compute_;
  std::array<std::shared_ptr<Buffer>, kAtOnce> buffers_;
  std::size_t next_ = 0;
};

}  // namespace seamwright::model::cuda
