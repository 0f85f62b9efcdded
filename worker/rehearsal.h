// Making ahead what a device needs for a job's shapes, so that no frame waits for it.
// Threads: a rank's own, before its tasks.
#pragma once

#include <span>

#include "worker/job.h"
#include "worker/stage_model.h"

namespace seamwright::worker {

// Evaluates the network once more or twice on empty latents, and decodes a chunk, where the backend makes
// plans or compiles kernels at first use; the seconds it took, 0 where it makes none. Only for a rank
// that holds the whole network: a stage would need what its neighbours make. Changes no result.
double rehearse(const Job& job, const model::VideoModel& model, model::Backend& backend,
                std::span<const BranchPrompts> prompts);

}  // namespace seamwright::worker
