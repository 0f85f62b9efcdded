#include "worker/generate.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "base/version.h"
#include "comm/loopback/loopback.h"
#include "media/metadata.h"
#include "model/arena.h"
#include "worker/gang_plan.h"
#include "worker/gang_setup.h"
#include "worker/outputs.h"
#include "worker/process_usage.h"
#include "worker/rank_run.h"

namespace seamwright::worker {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::json;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

void write_text_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file)
    fail(ErrorCode::kIo, "cannot write {}; is the folder there and writable?", path.string());
}

std::string describe(const Job& job) {
  const auto& r = job.request;
  const int windows = job.schedule.window_count(0);
  return fmt::format(
      "{} frames at {}x{} in {} window{} of {} (overlap {}, {}, {}{}), {} {} steps, guidance {}: "
      "{} "
      "U-Net evaluations",
      r.frames, r.width, r.height, windows, windows == 1 ? "" : "s",
      std::min<std::int64_t>(r.window, r.frames), r.overlap, r.window_schedule, r.coherence,
      job.causal() ? fmt::format(" lag {} rounds {}", r.lag, r.resample) : ", " + r.fuse,
      job.steps(), r.sampler, r.guidance, job.evaluations());
}

struct Timings {
  double load = 0, prompt = 0, work = 0;
};

Json to_json(const RankReport& r) {
  return {{"tasks", r.tasks},
          {"forwards", r.forwards},
          {"bytes_sent", r.bytes_sent},
          {"messages_sent", r.messages_sent},
          {"peak_live_bytes", r.peak_live_bytes},
          {"planned_live_bytes", r.planned_live_bytes},
          {"plan_hash", fmt::format("{:016x}", r.plan_hash)},
          {"forward_seconds", r.forward_seconds},
          {"decode_seconds", r.decode_seconds},
          {"resident_weight_bytes", r.resident_weight_bytes},
          {"peak_memory_bytes", r.peak_memory_bytes}};
}

// Every rank's counters as JSON, in rank order.
Json gather_reports(const RankReport& own, comm::Fabric* fabric) {
  const std::string text = to_json(own).dump();
  if (fabric == nullptr) return Json::array({Json::parse(text)});
  Json all = Json::array();
  for (const auto& bytes : fabric->all_gather(std::as_bytes(std::span(text.data(), text.size())))) {
    const auto* begin = reinterpret_cast<const char*>(bytes.data());
    all.push_back(Json::parse(begin, begin + bytes.size()));
  }
  return all;
}

Json report_of(const Job& job, const Outputs& outputs, const GangPlan& plan, const Json& ranks,
               const Timings& t, const model::Backend& backend) {
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
          {"fingerprint", backend.fingerprint()},
          {"evaluations", sum("forwards") / plan.layout.visits()},
          {"frames", frames},
          {"seam", to_json(outputs.seams())},
          {"seconds",
           {{"load", t.load},
            {"prompt", t.prompt},
            {"denoise", t.work - decode - outputs.encode_seconds()},
            {"decode", decode},
            {"encode", outputs.encode_seconds()},
            {"total", t.load + t.prompt + t.work}}},
          {"frames_per_second", t.work > 0 ? static_cast<double>(frames) / t.work : 0.0},
          {"peak_memory_bytes", peak_memory_bytes()},
          {"bytes_moved", sum("bytes_sent")},
          {"ranks", ranks}};
}

model::LoadOptions load_options(const GenerateOptions& options) {
  model::LoadOptions load;
  load.model = options.model_folder;
  if (!options.request.motion_adapter.empty()) load.motion_adapter = options.request.motion_adapter;
  if (!options.request.vae.empty()) load.vae = options.request.vae;
  if (!options.request.tokenizer.empty()) load.tokenizer = options.request.tokenizer;
  if (!options.tokenizer_fallback.empty()) load.tokenizer_fallback = options.tokenizer_fallback;
  for (const auto& lora : options.request.lora) load.loras.push_back({lora.file, lora.scale});
  load.per_frame_motion_norm = options.request.motion_norm == "per-frame";
  return load;
}

// What one rank has loaded before it starts.
struct Loaded {
  std::unique_ptr<model::Backend> backend;
  std::unique_ptr<model::VideoModel> model;
  std::optional<Job> job;
  GangPlan plan;
};

Loaded load_rank(const GenerateOptions& options, int rank, int threads) {
  Loaded l;
  l.backend = make_backend(options.request.device, options.request.precision, threads);
  auto load = load_options(options);
  if (options.layout.ranks() > 1) {
    // A whole model is resolved first without weights worth mentioning: a stage then loads its own.
    load.parts = {model::Part::kDenoiser, model::Part::kCodec};
    load.blocks = {{0, 0}};
  }
  l.model = model::VideoModel::load(load, *l.backend);
  l.job.emplace(resolve(options.request, *l.model, options.tensors));
  l.plan = make_gang_plan(*l.job, load, l.backend->activation_type(), options.layout,
                          options.latents_out.has_value());
  if (options.layout.ranks() > 1) {
    load.blocks = blocks_of_stage(l.plan, rank % options.layout.stages);
    if (rank == 0) load.parts.push_back(model::Part::kTextEncoder);
    l.model = model::VideoModel::load(load, *l.backend);
  }
  return l;
}

media::MediaMetadata metadata_for(const GenerateOptions& options, const Loaded& l) {
  media::MediaMetadata metadata;
  metadata.software = std::string("seamwright ") + kVersion;
  metadata.request = to_json(l.job->request);
  metadata.models = Json::array(
      {{{"name", options.model_folder.filename().string()}, {"sha256", l.model->hash()}}});
  metadata.mark_ai_generated = options.mark_ai_generated;
  return metadata;
}

int threads_for(const GenerateOptions& options, int sharing) {
  if (options.threads > 0) return options.threads;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / std::max(1, sharing));
}

// A rank that is not 0: its tasks, and no outputs.
GenerateResult follow(Loaded& l, int rank, comm::Fabric* fabric, const GenerateOptions& options) {
  model::Arena arena(l.backend->memory());
  model::Exec exec{*l.backend, arena};
  auto prompts = share_prompts({}, fabric);
  RankHooks hooks;
  hooks.tasks.carry_latents = options.latents_out.has_value();
  auto report = run_rank(rank, *l.job, l.plan, *l.model, exec, std::move(prompts), fabric, hooks);
  gather_reports(report, fabric);
  return {};
}

}  // namespace

GenerateResult generate_as_rank(const GenerateOptions& options, const GenerateHooks& hooks,
                                int rank, comm::Fabric* fabric) {
  const auto note = [&](const std::string& line) {
    if (hooks.note) hooks.note(line);
  };
  validate(options.request);
  const auto load_begin = Clock::now();
  Loaded l = load_rank(options, rank, threads_for(options, 1));
  const Job& job = *l.job;
  if (fabric != nullptr) check_agreement(agreement_of(job, l.plan), *fabric);
  if (rank != 0) return follow(l, rank, fabric, options);
  Timings timings;
  timings.load = seconds_since(load_begin);
  const auto metadata = metadata_for(options, l);
  Outputs outputs(options, job, metadata);
  note(describe(job));
  if (options.layout.ranks() > 1) {
    note(fmt::format("{} ranks: {} pipeline group{} of {} stage{}", options.layout.ranks(),
                     options.layout.groups, options.layout.groups == 1 ? "" : "s",
                     options.layout.stages, options.layout.stages == 1 ? "" : "s"));
  }

  model::Arena arena(l.backend->memory());
  model::Exec exec{*l.backend, arena};
  const auto prompt_begin = Clock::now();
  std::vector<std::string> warnings;
  auto prompts = share_prompts(encode_prompts(job, l.model->text(), exec, warnings), fabric);
  timings.prompt = seconds_since(prompt_begin);
  for (const auto& warning : warnings) note("warning: " + warning);

  GenerateResult result;
  const auto begin = Clock::now();
  // Of a gang, rank 0 shows its own share of the work.
  const std::int64_t share =
      std::max<std::int64_t>(1, job.evaluations() * l.plan.layout.visits() / l.plan.layout.ranks());
  Progress progress{.evaluations_total = share, .frames_total = job.request.frames};
  const auto report_progress = [&] {
    progress.seconds = seconds_since(begin);
    if (hooks.progress) hooks.progress(progress);
  };
  RankHooks rank_hooks;
  rank_hooks.stop = options.stop;
  rank_hooks.tasks.carry_latents = options.latents_out.has_value();
  rank_hooks.tasks.emit = [&](const DecodedChunk& chunk) {
    outputs.chunk(chunk);
    progress.frames = outputs.frames();
    report_progress();
  };
  rank_hooks.task_done = [&](const scheduling::PlannedTask& task) {
    if (task.task.kind != scheduling::TaskKind::kForward) return;
    progress.evaluations = std::min(progress.evaluations + 1, share);
    report_progress();
  };
  Json ranks = Json::array();
  try {
    auto report =
        run_rank(rank, job, l.plan, *l.model, exec, std::move(prompts), fabric, rank_hooks);
    ranks = gather_reports(report, fabric);
    result.complete = true;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCancelled) throw;
    RankReport partial;
    partial.forwards = progress.evaluations;
    ranks = gather_reports(partial, nullptr);
  }
  result.video = outputs.finish_video(result.complete);
  timings.work = seconds_since(begin);
  result.frames = outputs.frames();
  result.report = report_of(job, outputs, l.plan, ranks, timings, *l.backend);
  result.report["complete"] = result.complete;
  result.report["latents_sha256"] = outputs.digest_hex();
  outputs.write_latents();
  if (!result.video.empty()) {
    Json summary = result.report;
    summary.erase("request");
    media::write_sidecar(result.video, metadata, summary);
  }
  if (options.report) write_text_file(*options.report, result.report.dump(2) + "\n");
  return result;
}

GenerateResult generate(const GenerateOptions& options, const GenerateHooks& hooks) {
  scheduling::validate(options.layout);
  const int size = options.layout.ranks();
  if (size == 1) return generate_as_rank(options, hooks, 0, nullptr);
  GenerateOptions each = options;
  each.threads = threads_for(options, size);
  comm::LoopbackGang gang(size);
  std::vector<std::thread> threads;
  std::vector<std::exception_ptr> failures(static_cast<std::size_t>(size));
  GenerateResult result;
  const auto member = [&](int rank) {
    try {
      auto own =
          generate_as_rank(each, rank == 0 ? hooks : GenerateHooks{}, rank, &gang.fabric(rank));
      if (rank == 0) result = std::move(own);
    } catch (const std::exception& error) {
      failures[static_cast<std::size_t>(rank)] = std::current_exception();
      gang.fabric(rank).abort(fmt::format("rank {}: {}", rank, error.what()));
    }
  };
  for (int rank = 1; rank < size; ++rank) threads.emplace_back(member, rank);
  member(0);
  for (auto& thread : threads) thread.join();
  if (result.complete || !result.report.is_null()) return result;
  for (const auto& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
  return result;
}

}  // namespace seamwright::worker
