// What an interrupted video already has: output that is safe, and durable records of latents.
// Threads: values only; safe anywhere.
#pragma once

#include <set>
#include <utility>

namespace seamwright::scheduling {

struct ResumeState {
  // Frames below this one are published; on the decode grid.
  int first_missing_frame = 0;
  // Local coherence: (frame, level) whose latent and sampler history can be loaded.
  // Causal coherence: (window, level) whose window state at the start of that level, and clean
  // estimate of the level before, can be loaded; at level K its final frames.
  std::set<std::pair<int, int>> records;

  bool empty() const { return first_missing_frame == 0 && records.empty(); }
};

}  // namespace seamwright::scheduling
