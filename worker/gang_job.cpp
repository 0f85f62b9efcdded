#include "worker/gang_job.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/version.h"

namespace seamwright::worker {
namespace {

using Json = nlohmann::json;
using MaybePath = std::optional<std::filesystem::path>;

Json path_json(const MaybePath& path) { return path ? Json(path->string()) : Json(nullptr); }

MaybePath path_from(const Json& value) {
  return value.is_null() ? MaybePath() : MaybePath(value.get<std::string>());
}

}  // namespace

std::string to_gang_job(const GenerateOptions& o) {
  return Json{
      {"version", kVersion},
      {"request", to_json(o.request)},
      {"model_folder", o.model_folder.string()},
      {"tokenizer_fallback", o.tokenizer_fallback.string()},
      {"out", o.out.string()},
      {"latents_in", path_json(o.tensors.latents_in)},
      {"noise_in", path_json(o.tensors.noise_in)},
      {"report", path_json(o.report)},
      {"latents_out", path_json(o.latents_out)},
      {"mark_ai_generated", o.mark_ai_generated},
      {"grams_co2e_per_kwh", o.grams_co2e_per_kwh ? Json(*o.grams_co2e_per_kwh) : Json(nullptr)},
      {"threads", o.threads},
      {"resume", o.resume.string()},
      {"checkpoint_steps", o.checkpoint_steps},
      {"segment_frames", o.segment_frames},
      {"stall_limit_s", o.stall_limit_s},
      {"failpoint", o.failpoint},
      {"run", o.run},
      {"tell_tasks", o.tell_tasks},
      {"fabric", o.fabric},
      {"costs", o.costs},
      {"layout", scheduling::to_string(o.layout)}}
      .dump();
}

GenerateOptions parse_gang_job(const std::string& text) {
  const auto job = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  require(job.is_object() && job.value("version", "") == kVersion,
          "this job was not written by a launcher of version {}: start ranks through "
          "'seamwright generate'",
          kVersion);
  try {
    GenerateOptions o;
    o.request = job_request_from_json(job.at("request"));
    o.model_folder = job.at("model_folder").get<std::string>();
    o.tokenizer_fallback = job.at("tokenizer_fallback").get<std::string>();
    o.out = job.at("out").get<std::string>();
    o.tensors = {path_from(job.at("latents_in")), path_from(job.at("noise_in"))};
    o.report = path_from(job.at("report"));
    o.latents_out = path_from(job.at("latents_out"));
    o.mark_ai_generated = job.at("mark_ai_generated").get<bool>();
    if (const auto& grams = job.at("grams_co2e_per_kwh"); !grams.is_null()) {
      o.grams_co2e_per_kwh = grams.get<double>();
    }
    o.threads = job.at("threads").get<int>();
    o.resume = job.at("resume").get<std::string>();
    o.checkpoint_steps = job.at("checkpoint_steps").get<int>();
    o.segment_frames = job.at("segment_frames").get<int>();
    o.stall_limit_s = job.at("stall_limit_s").get<double>();
    o.failpoint = job.at("failpoint").get<std::string>();
    o.run = job.at("run").get<std::uint32_t>();
    o.tell_tasks = job.at("tell_tasks").get<bool>();
    o.fabric = job.at("fabric").get<std::string>();
    o.costs = job.at("costs").get<std::string>();
    o.layout = scheduling::parse_layout(job.at("layout").get<std::string>());
    return o;
  } catch (const Json::exception& error) {
    fail(ErrorCode::kInvalidArgument, "the job of this gang is damaged: {}", error.what());
  }
}

}  // namespace seamwright::worker
