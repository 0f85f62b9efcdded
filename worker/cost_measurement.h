// What forwards take on each rank, measured shortly before planning, so that a slow rank gets fewer
// windows. Counted costs stay where measuring could change nothing or would cost more than it
// saves.
// Threads: every rank calls settle_costs once, in the same place; the rest is pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "comm/fabric.h"
#include "model/video_model.h"
#include "scheduling/measured_costs.h"
#include "worker/generate.h"
#include "worker/job.h"
#include "worker/rank_run.h"

namespace seamwright::worker {

// `wish`: auto, measured or counted. Why costs are counted in this job, the same on every rank;
// empty where they are to be measured.
std::string reason_to_count(const std::string& wish, const Job& job, const GangPlan& plan);

// What every rank gives, by rank; all ranks call it in the same place.
scheduling::MeasuredVisits gather_visits(const std::vector<double>& own, comm::Fabric& fabric);

// Measures this rank's visits together with the others, or takes what the gang measured for the
// same `key` before (rank 0's word), and puts the result into plan.costs. Afterwards every rank
// holds the same table. At most a few seconds, and 2 % of the job where forwards are shorter than
// that.
void settle_costs(const GenerateOptions& options, const Job& job, const model::Denoiser& denoiser,
                  model::Backend& backend, const std::string& key, GangPlan& plan,
                  comm::Fabric* fabric);

// For reports: where the costs come from and why, seconds per visit, speeds, what each rank
// measured.
nlohmann::json costs_report(const GangPlan& plan);

}  // namespace seamwright::worker
