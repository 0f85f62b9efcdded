// The report of a run as JSON, gathered from all ranks.
// Threads: every rank calls gather_reports once; the rest is pure.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

#include "worker/gang_plan.h"
#include "worker/outputs.h"
#include "worker/rank_services.h"

namespace seamwright::worker {

// What a model is called in reports and metadata: its folder's or file's own name, or the id of a
// snapshot in a hub's cache.
std::string model_name(const std::filesystem::path& model);

struct Timings {
  double load = 0, prompt = 0, rehearsal = 0;
  double work = 0;         // everything after these
  double encode = 0;       // of the thread that writes, and of finishing the file
  double encode_wait = 0;  // of work, what rank 0's tasks waited for that thread
  double pixel_wait = 0;   // what that thread waited for pixels that a device was still making
  std::optional<double> first_frame;  // of the work, until one could be written
};

// Every rank's counters, in rank order. `fabric` may be null for a gang of one.
nlohmann::json gather_reports(const RankReport& own, comm::Fabric* fabric);

nlohmann::json report_of(const Job& job, const Outputs& outputs, const GangPlan& plan,
                         const nlohmann::json& ranks, const Timings& timings,
                         const model::Backend& backend);

// What was taken over from earlier attempts, and what this one, whose report so far is `report`,
// kept.
nlohmann::json recovery_report(const Job& job, const GangPlan& plan, RankServices& services,
                               const nlohmann::json& report);

}  // namespace seamwright::worker
