// A denoiser: an ordered list of blocks over named activations, so that a stage is any run of them.
// Threads: const after construction; each concurrent caller brings its own Exec and Activations.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/ops.h"
#include "model/tensor.h"

namespace seamwright::model {

// Activations by name while blocks run: "h", "temb", "context", "skip.3" ...
class Activations {
 public:
  void put(std::string name, Tensor value);
  // A value that lives elsewhere, such as in a receive buffer; it must outlast its use here.
  void borrow(std::string name, ConstView value);
  ConstView get(std::string_view name) const;  // throws kInternal when absent
  Tensor take(std::string_view name);          // moves it out; it must be owned
  void drop(std::string_view name);            // frees it if it is owned here
  bool has(std::string_view name) const;
  // Takes over everything `other` holds; a name held by both is a fault (kInternal).
  void merge(Activations&& other);

 private:
  struct Entry {
    Tensor owned;
    ConstView view;
  };
  std::map<std::string, Entry, std::less<>> values_;
};

// The prompt of one guidance branch as the U-Net reads it. Cross-attention keys and values depend
// on it alone; a denoiser computes them once per context and keeps them here.
class PromptContext {
 public:
  // embeddings: host f32 [P, tokens, dim], P = 1 (one prompt for all frames) or one per frame.
  explicit PromptContext(Tensor embeddings);
  ~PromptContext();
  ConstView embeddings() const { return embeddings_; }
  // Per cross-attention layer, filled by the denoiser on first use.
  struct KeyValue {
    Tensor key, value;  // [P, tokens, C]
  };
  std::map<int, KeyValue>& cache() { return cache_; }
  // Unlike any other context's of this process, past ones included.
  std::uint64_t id() const { return id_; }

 private:
  std::uint64_t id_;
  Tensor embeddings_;
  std::map<int, KeyValue> cache_;
};

struct BlockInfo {
  std::string name;                 // "down_blocks.0.resnets.1", "mid_block.attentions.0" ...
  std::vector<std::string> reads;   // activations it needs
  std::vector<std::string> writes;  // activations it leaves behind
  std::size_t weight_bytes = 0;     // resident, transformed copies included; 0 when not loaded
  std::int64_t parameters = 0;
};

// Blocks [first, last).
struct BlockRange {
  std::size_t first = 0, last = SIZE_MAX;
  bool has(std::size_t block) const { return block >= first && block < last; }
};

// One evaluation of one micro-batch (window, guidance branch).
struct DenoiseInput {
  float timestep = 0;
  PromptContext* context = nullptr;
  // Latent size, for upsampling back to odd sizes. 0: taken from "sample" where this call reads it,
  // else every upsampling doubles.
  std::int64_t height = 0, width = 0;
  // Of the timestep, where the caller has it from time_embedding() already.
  ConstView time_embedding{};
};

class Denoiser {
 public:
  virtual ~Denoiser() = default;
  virtual std::int64_t in_channels() const = 0;
  virtual std::int64_t out_channels() const = 0;
  virtual std::int64_t max_window() const = 0;       // the motion modules' frame limit
  virtual std::int64_t spatial_divisor() const = 0;  // latent sizes that need no odd-size rule
  virtual const std::vector<BlockInfo>& blocks() const = 0;

  // Runs blocks [first, last). The first block reads "sample" [F, h, w, C]; the last one writes
  // "prediction" [F, h, w, C]. Every stage computes "temb" itself from the timestep.
  virtual void run(Exec& exec, std::size_t first, std::size_t last, const DenoiseInput& input,
                   Activations& activations) const = 0;

  // What run() makes of a timestep before its blocks, where that needs the host; absent otherwise.
  virtual Tensor time_embedding(Exec& exec, float timestep) const {
    static_cast<void>(exec);
    static_cast<void>(timestep);
    return {};
  }

  // Names that cross a cut before block `at`: written before it and read at or after it.
  std::vector<std::string> crossing(std::size_t at) const;

  // All blocks at once: sample and result are [F, h, w, C] of the activation type.
  Tensor predict(Exec& exec, ConstView sample, const DenoiseInput& input) const;
};

}  // namespace seamwright::model
