// Making ahead what a device needs for a job's shapes, so that no frame waits for it.
// Threads: a rank's own, before its tasks.
#pragma once

#include "worker/job.h"
#include "worker/rank_run.h"
#include "worker/stage_model.h"

namespace seamwright::worker {

// Runs this rank's visits of each branch's micro-batch on empty activations, and decodes a chunk of
// each length, where the backend makes plans or compiles kernels at first use, then the visits
// until a faster way through them is learnt; the seconds it took, 0 where the backend makes nothing
// ahead. What neighbours would send has the shapes of the plan's cuts. Changes no result.
double rehearse(int rank, const Job& job, const GangPlan& plan, StageModel& stage,
                const model::FrameCodec& codec, model::Exec exec);

}  // namespace seamwright::worker
