// What a gang agrees on before it goes on from an earlier attempt.
// Threads: every rank calls share_recovery once; the rest is pure.
#pragma once

#include <string>

#include "comm/fabric.h"
#include "worker/durable_store.h"
#include "worker/gang_plan.h"
#include "worker/generate.h"

namespace seamwright::worker {

struct Recovery {
  bool kept = false;  // somebody keeps what this gang makes
  std::int64_t attempt = 1;
  int checkpoint_interval = 0;
  scheduling::ResumeState resume;
};

// Throws kInvalidArgument for what cannot be done in pieces.
void check_resumable(const GenerateOptions& options);

// Everything that the latents and the segments of a job follow from.
DurableIdentity identity_of(const GenerateOptions& options, const Job& job,
                            const std::string& model_hash, const std::string& numerics);

// Levels between records: as asked for, or, without a wish (-1), as few as cost less than 5 % of
// the time that the windows take. `write_s` is what one small durable write takes.
int choose_checkpoint_interval(int wish, const Job& job, const GangPlan& plan, double write_s);

// The interval that earlier attempts' records have where they left some, else `wish`; 0, for no
// more records, can be had at any time.
int interval_beside(const DurableState& left, int wish);

// Rank 0's to everyone; `fabric` may be null for a gang of one.
Recovery share_recovery(const Recovery& own, comm::Fabric* fabric);

// U-Net evaluations (visits of micro-batches apart) that are left to do.
std::int64_t evaluations_left(const scheduling::PlanRequest& request,
                              const scheduling::ResumeState& resume);

// Frames of one segment: as asked for, on the grid of decode tasks.
std::int64_t segment_length(const Job& job, int wish);

}  // namespace seamwright::worker
