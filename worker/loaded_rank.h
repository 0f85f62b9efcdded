// What one rank of a gang has in memory before its tasks: backend, its share of the model, the job
// and the gang's plan of it.
// Threads: a rank's own.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "model/video_model.h"
#include "worker/gang_plan.h"
#include "worker/generate.h"

namespace seamwright::worker {

struct LoadedRank {
  std::shared_ptr<model::Backend> backend;
  std::shared_ptr<const model::VideoModel> model;
  std::optional<Job> job;
  GangPlan plan;
  std::string costs_key;  // jobs of one gang with one key have the same costs
};

// Takes what options.models still holds of an earlier job.
LoadedRank load_rank(const GenerateOptions& options, int rank, int threads);

}  // namespace seamwright::worker
