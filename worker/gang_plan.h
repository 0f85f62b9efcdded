// What a layout makes of a job on a model: which blocks each visit runs, what crosses the cuts, and
// the costs the planner works with, counted; cost_measurement.h may put measured ones in their
// place.
// Threads: pure but for reading the model's config and weight headers.
#pragma once

#include "scheduling/plan.h"
#include "worker/generate.h"
#include "worker/rank_run.h"

namespace seamwright::worker {

// Throws kInvalidArgument when the layout does not fit the network.
GangPlan make_gang_plan(const Job& job, const model::LoadOptions& load,
                        const model::Backend& backend, const scheduling::Layout& layout,
                        bool carry_latents);

// The blocks a rank of this stage loads.
std::vector<model::BlockRange> blocks_of_stage(const GangPlan& plan, int stage);

// Equal on ranks that agree on everything the plan and the bits follow from; check_agreement
// (gang_setup.h) says what differs.
std::string agreement_of(const Job& job, const GangPlan& plan, const std::string& numerics,
                         const std::string& model_hash);

}  // namespace seamwright::worker
