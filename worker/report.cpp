#include "worker/report.h"

#include <algorithm>

#include "base/version.h"
#include "worker/cost_measurement.h"
#include "worker/process_usage.h"

namespace seamwright::worker {
namespace {

using Json = nlohmann::json;

Json to_json(const RankReport& r) {
  return {{"tasks", r.tasks},
          {"forwards", r.forwards},
          {"bytes_sent", r.bytes_sent},
          {"bytes_received", r.bytes_received},
          {"messages_sent", r.messages_sent},
          {"peak_live_bytes", r.peak_live_bytes},
          {"planned_live_bytes", r.planned_live_bytes},
          {"plan_hash", fmt::format("{:016x}", r.plan_hash)},
          {"forward_seconds", r.forward_seconds},
          {"decode_seconds", r.decode_seconds},
          {"fuse_seconds", r.fuse_seconds},
          {"record_wait_seconds", r.record_wait_seconds},
          {"runtime_cost_us",
           r.back_to_back_tasks == 0
               ? 0.0
               : 1e6 * r.back_to_back_seconds / static_cast<double>(r.back_to_back_tasks)},
          {"resident_weight_bytes", r.resident_weight_bytes},
          {"peak_memory_bytes", r.peak_memory_bytes},
          {"peak_device_bytes", r.peak_device_bytes}};
}

}  // namespace

std::string model_name(const std::filesystem::path& model) {
  auto path = std::filesystem::absolute(model).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  const auto holder = path.parent_path();
  // models--org--name/snapshots/<commit>
  constexpr std::string_view kHub = "models--";
  const auto id = holder.parent_path().filename().string();
  if (holder.filename() != "snapshots" || !id.starts_with(kHub)) return path.filename().string();
  const auto name = id.substr(kHub.size());
  const auto at = name.find("--");
  if (at == std::string::npos) return name;
  return fmt::format("{}/{}", name.substr(0, at), name.substr(at + 2));
}

nlohmann::json gather_reports(const RankReport& own, comm::Fabric* fabric) {
  const std::string text = to_json(own).dump();
  if (fabric == nullptr) return Json::array({Json::parse(text)});
  Json all = Json::array();
  for (const auto& bytes : fabric->all_gather(std::as_bytes(std::span(text.data(), text.size())))) {
    const auto* begin = reinterpret_cast<const char*>(bytes.data());
    all.push_back(Json::parse(begin, begin + bytes.size()));
  }
  return all;
}

nlohmann::json report_of(const Job& job, const Outputs& outputs, const GangPlan& plan,
                         const nlohmann::json& ranks, const Timings& t,
                         const model::Backend& backend) {
  const auto frames = outputs.frames();
  const auto sum = [&](const char* key) {
    double total = 0;
    for (const auto& rank : ranks) total += rank.at(key).get<double>();
    return total;
  };
  const double decode = ranks.empty() ? 0.0 : ranks.front().at("decode_seconds").get<double>();
  return {{"software", std::string("seamwright ") + kVersion},
          {"request", to_json(job.request)},
          {"layout",
           {{"window_parallel_size", plan.layout.groups},
            {"pipeline_parallel_size", plan.layout.stages},
            {"folded", plan.layout.folded}}},
          {"costs", costs_report(plan)},
          {"fingerprint", numerics_of(backend)},
          {"evaluations", sum("forwards") / plan.layout.visits()},
          {"frames", frames},
          {"seam", to_json(outputs.seams())},
          {"seconds",
           {{"load", t.load},
            {"prompt", t.prompt},
            {"rehearsal", t.rehearsal},
            {"denoise", std::max(0.0, t.work - decode - t.encode_wait)},
            {"decode", decode},
            {"encode", t.encode},
            {"encode_wait", t.encode_wait},
            {"pixel_wait", t.pixel_wait},
            {"total", t.load + t.prompt + t.rehearsal + t.work}}},
          {"first_frame_seconds", t.first_frame ? Json(*t.first_frame) : Json(nullptr)},
          {"frames_per_second", t.work > 0 ? static_cast<double>(frames) / t.work : 0.0},
          {"peak_memory_bytes", peak_memory_bytes()},
          {"bytes_moved", sum("bytes_sent")},
          {"ranks", ranks}};
}

nlohmann::json recovery_report(const Job& job, const GangPlan& plan, RankServices& services,
                               const nlohmann::json& report) {
  const auto& recovery = services.recovery();
  const auto& durability = *services.durability();
  const auto before = services.store()->state().evaluations;
  const auto all = before + report.at("evaluations").get<std::int64_t>();
  return {{"attempt", recovery.attempt},
          {"checkpoint_steps", recovery.checkpoint_interval},
          {"first_frame", recovery.resume.first_missing_frame},
          {"records_found", recovery.resume.records.size()},
          {"evaluations_whole", job.evaluations()},
          {"evaluations_planned", evaluations_left(plan.request, recovery.resume)},
          {"evaluations_before", before},
          // By all attempts, beyond what an undisturbed run needs.
          {"evaluations_redone", std::max<std::int64_t>(0, all - job.evaluations())},
          {"records_written", durability.records_saved()},
          {"record_bytes_written", durability.bytes_saved()}};
}

}  // namespace seamwright::worker
