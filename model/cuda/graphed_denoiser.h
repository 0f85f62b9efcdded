// A denoiser whose evaluations become CUDA graphs: one for each (blocks, shapes, prompt) that comes
// back, replayed with one launch.
// Threads: one at a time.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/arena.h"
#include "model/cuda/backend.h"
#include "model/cuda/bounded_cache.h"
#include "model/denoiser.h"

namespace seamwright::model::cuda {

class GraphedDenoiser final : public Denoiser {
 public:
  static constexpr std::size_t kGraphs = 16;

  GraphedDenoiser(const Denoiser& inner, CudaBackend& backend, std::size_t graphs = kGraphs);

  std::int64_t in_channels() const override { return inner_.in_channels(); }
  std::int64_t out_channels() const override { return inner_.out_channels(); }
  std::int64_t max_window() const override { return inner_.max_window(); }
  std::int64_t spatial_divisor() const override { return inner_.spatial_divisor(); }
  const std::vector<BlockInfo>& blocks() const override { return inner_.blocks(); }
  Tensor time_embedding(Exec& exec, float timestep) const override {
    return inner_.time_embedding(exec, timestep);
  }
  void run(Exec& exec, std::size_t first, std::size_t last, const DenoiseInput& input,
           Activations& activations) const override;

  struct Report {
    std::int64_t eager = 0, captured = 0, replayed = 0;
    std::int64_t refused = 0;  // captures that the driver ended
  };
  const Report& report() const { return report_; }

  // What evaluations have in common that can share a graph.
  static std::string key_of(const Denoiser& inner, std::size_t first, std::size_t last,
                            const DenoiseInput& input, const Activations& activations);

 private:
  // A graph reads and writes fixed addresses: everything that enters or leaves is copied.
  struct Recorded {
    int uses = 0;
    std::shared_ptr<void> graph;  // null: not captured
    std::size_t arena_block = 0;  // of the arena's blocks, the one it was captured with
    bool refused = false;         // by the driver: runs op by op from then on
    std::map<std::string, Tensor> inputs;
    Tensor time;
    Activations result;
    std::vector<std::string> made, gone;  // names it leaves behind, and takes away
  };
  void take_inputs(Recorded& recorded, std::size_t first, std::size_t last, ConstView time,
                   const Activations& activations) const;
  void evaluate(Recorded& recorded, std::size_t first, std::size_t last,
                const DenoiseInput& input) const;
  bool capture(Recorded& recorded, std::size_t first, std::size_t last,
               const DenoiseInput& input) const;
  void give_results(const Recorded& recorded, Exec& exec, Activations& activations) const;

  const Denoiser& inner_;
  CudaBackend& backend_;
  // All graphs compute in one block: they run one after the other. When it moves, they are void.
  mutable Arena arena_;
  mutable BoundedCache<std::string, Recorded> graphs_;
  mutable Report report_;
};

}  // namespace seamwright::model::cuda
