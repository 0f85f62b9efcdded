// Seeded random requests, layouts and cost tables for property tests.
// Threads: none.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <random>
#include <string>

#include "scheduling/plan.h"

namespace seamwright::scheduling {

struct RandomCase {
  PlanRequest request;
  Layout layout;
  CostTable costs;
};

inline RandomCase random_case(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto pick = [&](int low, int high) {
    return low + static_cast<int>(random() % static_cast<std::uint64_t>(high - low + 1));
  };
  RandomCase c;
  PlanRequest& r = c.request;
  r.windows.window = pick(1, 8);
  r.windows.overlap = pick(0, r.windows.window - 1);
  r.windows.frames = pick(1, 40);
  r.windows.schedule = static_cast<ScheduleKind>(pick(0, 2));
  r.windows.stride = pick(1, 3);
  r.windows.closed_loop = pick(0, 1) == 1;
  r.steps = pick(1, 5);
  r.branches = pick(1, 2);
  r.coherence = static_cast<Coherence>(pick(0, 1));
  r.lag = pick(1, 4);
  r.rounds = r.coherence == Coherence::kCausal ? pick(1, 3) : 1;
  r.order = static_cast<Order>(pick(0, 1));
  r.decode_frames = pick(1, 9);
  r.checkpoint_interval = pick(0, 2);
  if (r.coherence == Coherence::kCausal) r.windows.schedule = ScheduleKind::kStatic;
  if (r.windows.schedule != ScheduleKind::kStatic) r.order = Order::kThroughput;
  if (r.order == Order::kStreaming && r.coherence == Coherence::kLocal) {
    r.windows.overlap = std::min(r.windows.overlap, r.windows.window / 2);
  }

  c.layout = {pick(1, 4), pick(1, 4), pick(0, 2) == 0};
  c.costs = uniform_costs(c.layout, 0.05);
  if (pick(0, 1) == 1) {
    for (auto& time : c.costs.visit_s) time *= pick(1, 5) / 3.0;
  }
  c.costs.combine_s = pick(0, 1) * 1e-4;
  c.costs.advance_frame_s = pick(0, 2) * 1e-4;
  c.costs.decode_frame_s = pick(0, 3) * 4e-3;
  c.costs.emit_frame_s = pick(0, 2) * 1e-3;
  c.costs.near = {pick(0, 3) * 1e-4, pick(0, 1) * 1e9};
  c.costs.far = {pick(0, 5) * 1e-3, pick(0, 1) * 1e7};
  c.costs.ranks_per_host = pick(0, 4);
  c.costs.sizes.latent_frame_bytes = 1024;
  c.costs.sizes.history_frames = pick(0, 1);
  c.costs.sizes.output_frame_bytes = 4096;
  for (auto& bytes : c.costs.sizes.cut_bytes) bytes = pick(1, 200) * 1000;
  for (auto& bytes : c.costs.sizes.retained_bytes) bytes = pick(0, 100) * 1000;
  if (pick(0, 2) == 0) {
    for (int rank = 0; rank < c.layout.ranks(); ++rank) {
      c.costs.rank_speed.push_back(pick(80, 120) / 100.0);
    }
  }
  r.windows.around_holes = r.coherence == Coherence::kLocal;
  if (pick(0, 2) == 0) {
    // Runs of given and of missing frames: long ones leave windows with nothing to do.
    for (bool is_given = pick(0, 1) == 1;
         static_cast<int>(r.windows.given.size()) < r.windows.frames; is_given = !is_given) {
      r.windows.given.insert(r.windows.given.end(), static_cast<std::size_t>(pick(1, 12)),
                             is_given);
    }
    r.windows.given.resize(static_cast<std::size_t>(r.windows.frames));
  }
  return c;
}

inline std::string describe(const RandomCase& c) {
  const PlanRequest& r = c.request;
  std::string given;
  for (const bool is_given : r.windows.given) given += is_given ? '=' : '.';
  return fmt::format("F{} L{} O{} {} stride {} K{} b{} {} lag {} rounds {} {} D{} I{} on {} {}",
                     r.windows.frames, r.windows.window, r.windows.overlap,
                     to_string(r.windows.schedule), r.windows.stride, r.steps, r.branches,
                     to_string(r.coherence), r.lag, r.rounds, to_string(r.order), r.decode_frames,
                     r.checkpoint_interval, to_string(c.layout), given);
}

}  // namespace seamwright::scheduling
