// A network as the stage partition sees it: its blocks, their weights, and the size of every
// activation, counted without computing anything.
// Threads: pure functions; safe anywhere.
#pragma once

#include <cstdint>
#include <vector>

#include "model/denoiser.h"
#include "model/dry/dry_backend.h"
#include "scheduling/partition.h"

namespace seamwright::worker {

// One micro-batch: latent frames and their size, and the prompt that comes with them.
struct MicroBatchSize {
  std::int64_t frames = 16;
  std::int64_t height = 64, width = 64;  // latents
  std::int64_t tokens = 77, context_width = 768;
};

// What bounds an operation where nothing was measured: it takes as long as the slower of the two.
struct Roofline {
  double flops_per_s = 1e12;
  double bytes_per_s = 1e11;
};

// `network` must have been built on `backend`.
std::vector<scheduling::PartitionBlock> block_table(const model::Denoiser& network,
                                                    model::DryBackend& backend,
                                                    const MicroBatchSize& size,
                                                    const Roofline& roofline);

}  // namespace seamwright::worker
