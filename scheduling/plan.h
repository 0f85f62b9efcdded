// What a plan is: the tasks of a video, the data they exchange, where each runs, in which order,
// and the one global order of messages between ranks.
// Threads: values only; safe anywhere.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "scheduling/windows.h"

namespace seamwright::scheduling {

enum class Coherence { kLocal, kCausal };
enum class Order { kThroughput, kStreaming };

std::string_view to_string(Coherence coherence);
std::string_view to_string(Order order);
Coherence parse_coherence(std::string_view name);  // local | causal
Order parse_order(std::string_view name);          // throughput | streaming

struct PlanRequest {
  WindowRequest windows;
  int steps = 25;    // K: denoising steps; latents at level k become level k+1
  int branches = 1;  // guidance branches, 1 or 2: each travels the stages on its own
  Coherence coherence = Coherence::kLocal;
  int lag = 1;     // causal: levels a window follows its predecessor by
  int rounds = 1;  // causal: resampling rounds at each level
  Order order = Order::kThroughput;
  int decode_frames = 8;  // frames per decode task, on a grid of absolute frames
  // Levels between durable records; 0 = none are written. Causal: every level is recorded, and a
  // window runs at most this many ahead of what is durable.
  int checkpoint_interval = 0;
};

// G pipeline groups of P stages. Rank g * P + s holds stage s of group g. A micro-batch visits the
// stages in order; folded, it comes back: down 0 .. P-1, then up P-2 .. 0.
struct Layout {
  int groups = 1;
  int stages = 1;
  bool folded = false;

  int ranks() const { return groups * stages; }
  int visits() const { return folded ? 2 * stages - 1 : stages; }
  int stage_of_visit(int visit) const { return visit < stages ? visit : 2 * stages - 2 - visit; }
  int rank_of(int group, int visit) const { return group * stages + stage_of_visit(visit); }
  // Where a group's latents live: the rank of its first visit.
  int home_rank(int group) const { return group * stages; }
  // Where a group's predictions appear: the rank of its last visit.
  int last_rank(int group) const { return rank_of(group, visits() - 1); }
  int group_of_rank(int rank) const { return rank / stages; }

  bool operator==(const Layout&) const = default;
};

// "2x3" or, folded, "2x3f".
std::string to_string(const Layout& layout);
Layout parse_layout(std::string_view text);

struct LinkCost {
  double latency_s = 0.0;
  double bytes_per_s = 0.0;  // 0: infinitely fast

  // How long a message keeps it busy; it arrives latency_s later.
  double busy_s(std::int64_t bytes) const {
    return bytes_per_s > 0 ? static_cast<double>(bytes) / bytes_per_s : 0.0;
  }
};

// Sizes of everything that is stored or sent.
struct DataSizes {
  std::int64_t latent_frame_bytes = 4 * 64 * 64 * 4;  // one fp32 latent frame; also a prediction's
  int history_frames = 0;                    // latent frames of sampler history carried per frame
  std::vector<std::int64_t> cut_bytes;       // per cut between consecutive visits: visits() - 1
  std::vector<std::int64_t> retained_bytes;  // per visit: kept on its rank for a later visit there
  std::int64_t output_frame_bytes = 0;       // one decoded frame as it travels to rank 0
  std::vector<std::int64_t> fixed_bytes;     // per stage: weights and workspace

  std::int64_t state_frame_bytes() const { return latent_frame_bytes * (1 + history_frames); }
};

// What the planner knows about time. Measured once, broadcast by rank 0: every rank must plan with
// the same numbers.
struct CostTable {
  std::vector<double> visit_s;   // one forward visit of one micro-batch, per visit
  double combine_s = 0.0;        // guidance of one window
  double advance_frame_s = 0.0;  // fusion and sampler step (or causal mix) of one frame
  double source_frame_s = 0.0;   // drawing or loading one frame
  double decode_frame_s = 0.0;
  double emit_frame_s = 0.0;       // handing one decoded frame to the encoder
  LinkCost near;                   // between ranks of one host
  LinkCost far;                    // between hosts
  int ranks_per_host = 0;          // 0: all ranks on one host
  std::vector<double> rank_speed;  // relative, 1 = as the times say; empty: all 1
  DataSizes sizes;

  double speed(int rank) const {
    return rank_speed.empty() ? 1.0 : rank_speed[static_cast<std::size_t>(rank)];
  }
  const LinkCost& link(int from, int to) const {
    const bool same = ranks_per_host <= 0 || from / ranks_per_host == to / ranks_per_host;
    return same ? near : far;
  }
};

// A table in which every forward takes `forward_s` spread evenly over the visits and all else is
// free: for tests, emulation, and before anything was measured.
CostTable uniform_costs(const Layout& layout, double forward_s);

// Throw kInvalidArgument or, for combinations that cannot work, kUnsupported with the reason.
void validate(const PlanRequest& request);
void validate(const Layout& layout);
void validate(const CostTable& costs, const Layout& layout);

enum class TaskKind {
  kSource,   // draw initial noise (level 0) or load durable records of a run of frames
  kForward,  // one visit of one micro-batch: (window, step, round, branch, visit)
  kCombine,  // guidance: the branches' outputs become one prediction
  kAdvance,  // local: fuse the predictions that cover a run of frames, one sampler step
  kEnter,    // causal: the window's latents, shared frames from the predecessor's clean estimate
  kMix,      // causal: mix clean estimates, then re-noise (next round) or step (next level)
  kDecode,   // latents of one chunk of frames to pictures
  kEmit,     // hand a decoded chunk to the encoder; on rank 0, in order
};

std::string_view to_string(TaskKind kind);

struct Task {
  TaskKind kind = TaskKind::kForward;
  int window = -1;  // kForward, kCombine, kEnter, kMix; causal kSource
  int step = -1;    // step k; for kSource the level
  int round = 0;
  int branch = 0;
  int visit = 0;
  int chunk = -1;        // kDecode, kEmit
  int first_frame = -1;  // kSource, kAdvance, kDecode, kEmit; for kMix of the last step and round
  int frame_count = 0;   // the frames that are final with it

  auto operator<=>(const Task&) const = default;
};

std::string to_string(const Task& task);

enum class DataKind {
  kState,         // (frame, level): latent and sampler history; level K is what is decoded
  kWindowState,   // causal (window, step, round): the window's own latents and history
  kInput,         // causal (window, step, round): what the U-Net sees
  kActivation,    // (window, step, round, branch, visit): what crosses the cut after a visit
  kRetained,      // the same, kept on the rank for a later visit of the same micro-batch
  kBranchOutput,  // (window, step, round, branch): the U-Net's output
  kPrediction,    // (window, step, round): after guidance
  kClean,         // causal (window, step): clean estimate after the last round, of the frames
                  // shared with the successor
  kPixels,        // (chunk): decoded frames
};

struct DataId {
  DataKind kind = DataKind::kState;
  int at = 0;  // frame, window or chunk
  int step = 0;
  int round = 0;
  int branch = 0;
  int visit = 0;

  auto operator<=>(const DataId&) const = default;
};

std::string to_string(const DataId& id);

struct DataIdHash {
  std::size_t operator()(const DataId& id) const;
};

// A piece of data as it lies on one rank.
struct DataRef {
  DataId id;
  std::int64_t bytes = 0;
  int uses = 0;  // how often it is read there: by tasks, and by sends. Then it can go.

  bool operator==(const DataRef&) const = default;
};

// A task in its rank's static order.
struct PlannedTask {
  Task task;
  int rank = 0;
  std::int64_t position = 0;  // in the rank's order, from 0
  std::vector<DataId> inputs;
  std::vector<DataRef> outputs;
  std::vector<std::int64_t> receives;    // messages that bring inputs: complete before it starts
  std::vector<std::int64_t> sends_done;  // own sends that must have left before it starts
  bool checkpoint = false;  // its results (kAdvance, kMix) are to be written as durable records
  int durable_level = -1;   // kForward: records of its frames at this level must be durable before
                            // it is done; it may run while they are being written
  std::int64_t start_ns = 0;  // planned
  std::int64_t duration_ns = 0;
};

// A message in the global order. Every rank issues its own sends and receives in ascending index.
struct Message {
  std::int64_t index = 0;
  int source = 0;
  int destination = 0;
  std::vector<DataRef> data;   // as it lies at the destination
  std::vector<int> positions;  // of the window, for kPrediction and kClean: what is sent of it
  std::int64_t bytes = 0;
  std::int64_t produced_by = 0;     // position of the producing task at the source
  std::int64_t receive_after = -1;  // the destination may take it once this position is complete
  std::int64_t ready_ns = 0;        // planned
  std::int64_t arrival_ns = 0;      // planned
};

// What the planner hands out at a time. Tasks are in planned start order, messages in global order;
// whatever either refers to lies in the same or an earlier chunk.
struct PlanChunk {
  std::vector<PlannedTask> tasks;
  std::vector<Message> messages;
};

// A whole plan.
struct Plan {
  PlanRequest request;
  Layout layout;
  std::vector<std::vector<PlannedTask>> ranks;  // static order per rank
  std::vector<Message> messages;                // the global order
  std::vector<std::int64_t> live_bytes_max;     // per rank, in any legal execution
  std::int64_t makespan_ns = 0;                 // planned
  std::uint64_t hash = 0;
  std::vector<std::string> reasons;
};

}  // namespace seamwright::scheduling
