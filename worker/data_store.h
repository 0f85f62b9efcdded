// What one rank holds while it runs: the plan's data by id, each with the uses it still has.
// Threads: all calls lock; a datum's content is written before it is put and never after, but for
// pixels that are still arriving.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "model/denoiser.h"
#include "scheduling/plan.h"

namespace seamwright::worker {

// One piece of data. Which member is used follows from the kind of its id.
struct Datum {
  // kState: [1 + history, C, h, w]; kWindowState and causal kInput: [L, 1 + history,
  // C, h, w]; kPrediction,
  // kBranchOutput, kClean: [positions, C, h, w].
  std::vector<float> values;
  // Window positions that `values` holds, ascending; empty = all of them.
  std::vector<int> positions;
  model::Activations activations;    // kActivation, kRetained
  std::vector<std::uint8_t> pixels;  // kPixels: digests, then RGB8 frames one after another
  // Pixels that a device may still be making: nobody reads them before wait_for_pixels(). After
  // them, so that nothing arrives in memory that has gone.
  std::unique_ptr<model::Readback> arriving;

  void wait_for_pixels() const {
    if (arriving) arriving->wait();
  }

  // The row of `values` that holds a window position.
  std::span<const float> row(int position, std::size_t row_size) const;
};

class DataStore {
 public:
  void put(const scheduling::DataRef& ref, std::shared_ptr<Datum> datum);
  // Throws kInternal when the plan's order was broken and it is not there.
  std::shared_ptr<Datum> get(const scheduling::DataId& id) const;
  // Counts one use; the last one forgets the datum.
  void use(const scheduling::DataId& id);

  std::int64_t live_bytes() const;
  std::int64_t peak_bytes() const;
  std::size_t size() const;

 private:
  struct Entry {
    std::shared_ptr<Datum> datum;
    std::int64_t bytes = 0;
    int uses = 0;
  };
  mutable std::mutex mutex_;
  std::unordered_map<scheduling::DataId, Entry, scheduling::DataIdHash> entries_;
  std::int64_t live_ = 0, peak_ = 0;
};

}  // namespace seamwright::worker
