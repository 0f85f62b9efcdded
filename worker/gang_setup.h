// What the ranks of a gang exchange before they start.
// Threads: every rank calls each function once, in the same order.
#pragma once

#include <string>
#include <vector>

#include "comm/fabric.h"
#include "worker/stage_model.h"

namespace seamwright::worker {

// Prompt embeddings are computed once, on rank 0, and sent to the others as they are. `own` counts
// on rank 0 only; `fabric` may be null for a gang of one.
std::vector<BranchPrompts> share_prompts(std::vector<BranchPrompts> own, comm::Fabric* fabric);

// Every rank must plan from the same numbers, and compute alike with the same model, before any of
// them starts. `own` is what agreement_of gives. Throws kInternal naming the rank that differs from
// rank 0, and in what.
void check_agreement(const std::string& own, comm::Fabric& fabric);

}  // namespace seamwright::worker
