// Which blocks of a network each stage holds: dynamic programming over block times, weights and
// what would cross the cuts; as consecutive runs, or folded, where a stage holds a run of the down
// path and its mirror in the up path so that skip connections never leave it.
// Threads: pure functions; safe anywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "scheduling/plan.h"

namespace seamwright::scheduling {

struct Activation {
  std::string name;
  std::int64_t bytes = 0;  // for one micro-batch
};

// One block, in order. Names that no block writes (the sample, the prompt, the time embedding) are
// known to every stage and never cross a cut.
struct PartitionBlock {
  std::string name;
  double seconds = 0.0;
  std::int64_t weight_bytes = 0;
  std::vector<std::string> reads;
  std::vector<Activation> writes;
};

struct PartitionRequest {
  int stages = 1;
  bool folded = false;
  double decode_s = 0.0;          // decoding per micro-batch: work that any stage can take
  std::int64_t memory_limit = 0;  // bytes per rank; 0 = none
  int micro_batches_held = 2;     // whose activations count against the limit
  double tolerance = 0.05;        // a stage this much slower is accepted for fewer bytes
  // Of a rank's link, which carries what enters and leaves its stage while it computes: a stage
  // takes as long as the longer of the two. 0: links are not looked at.
  double link_bytes_per_s = 0.0;
};

struct Partition {
  int stages = 1;
  bool folded = false;
  std::vector<std::size_t> bounds;  // visit v runs blocks [bounds[v], bounds[v + 1])
  std::vector<double> visit_s;
  std::vector<std::int64_t> cut_bytes;       // between consecutive visits
  std::vector<std::int64_t> retained_bytes;  // per visit: kept on its rank for a later visit there
  std::vector<std::int64_t> weight_bytes;    // per stage
  std::vector<std::vector<std::string>> sends;  // per cut: the names that cross it
  std::vector<std::vector<std::string>> keeps;  // per visit: the names behind retained_bytes
  double slowest_stage_s = 0.0;
  std::int64_t busiest_link_bytes = 0;  // that enter and leave one stage
  std::int64_t total_cut_bytes = 0;
  std::vector<std::string> reasons;
};

// Throws kInvalidArgument when there are more visits than blocks, kResource when nothing fits the
// memory limit (with what would be needed).
Partition partition_stages(const std::vector<PartitionBlock>& blocks,
                           const PartitionRequest& request);

// The partition with given bounds: for checking, and for reporting a cut chosen by hand.
Partition describe_partition(const std::vector<PartitionBlock>& blocks, int stages, bool folded,
                             const std::vector<std::size_t>& bounds);

// Puts a partition's times and sizes into a cost table.
void apply(const Partition& partition, CostTable& costs);

}  // namespace seamwright::scheduling
