#include "worker/generate.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "base/sha256.h"
#include "base/version.h"
#include "media/metadata.h"
#include "media/video_writer.h"
#include "model/arena.h"
#include "model/safetensors.h"
#include "worker/process_usage.h"
#include "worker/rank_run.h"
#include "worker/seam_metrics.h"

namespace seamwright::worker {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::json;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

SeamMetrics seam_metrics_for(const Job& job) {
  std::vector<std::int64_t> starts, ends;
  if (job.schedule.is_static()) {
    for (int w = 0; w < job.schedule.window_count(0); ++w) {
      const auto frames = job.schedule.window(0, w).frames;
      starts.push_back(frames.front());
      ends.push_back(frames.back() + 1);
    }
  }
  return {job.request.frames, std::move(starts), std::move(ends)};
}

// Everything that receives finished frames; owns the files being written.
class Outputs {
 public:
  Outputs(const GenerateOptions& options, const Job& job, const media::MediaMetadata& metadata)
      : options_(options), job_(job), metadata_(metadata), seams_(seam_metrics_for(job)) {
    if (!options.out.empty()) {
      media::VideoOptions video;
      video.width = job.request.width;
      video.height = job.request.height;
      video.fps = job.request.fps;
      video.metadata = metadata;
      writer_.emplace(options.out, video);
    }
  }

  // Decoded frames in order.
  void chunk(const DecodedChunk& chunk) {
    digest_.update(std::as_bytes(chunk.digests));
    latents_.insert(latents_.end(), chunk.latents.begin(), chunk.latents.end());
    const int width = job_.request.width, height = job_.request.height;
    const std::size_t size = static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3;
    for (int i = 0; i < chunk.count; ++i) {
      const auto pixels = chunk.pixels.subspan(static_cast<std::size_t>(i) * size, size);
      seams_.add(pixels);
      const auto begin = Clock::now();
      if (writer_) writer_->write({width, height, pixels});
      encode_seconds_ += seconds_since(begin);
      ++frames_;
    }
  }
  std::filesystem::path finish_video(bool complete) {
    if (!writer_) return {};
    const auto begin = Clock::now();
    const auto path = complete ? writer_->finish() : writer_->abandon();
    encode_seconds_ += seconds_since(begin);
    return path;
  }
  void write_latents() const {
    if (!options_.latents_out) return;
    const auto& s = job_.latent;
    const auto count = static_cast<std::int64_t>(latents_.size() / s.size());
    const model::StoredTensor tensor{"latents",
                                     model::DType::kF32,
                                     {count, s.channels, s.height, s.width},
                                     std::as_bytes(std::span(latents_))};
    model::write_safetensors(*options_.latents_out, std::span(&tensor, 1));
  }

  std::string digest_hex() { return to_hex(digest_.finish()); }
  std::int64_t frames() const { return frames_; }
  const SeamMetrics& seams() const { return seams_; }
  double encode_seconds() const { return encode_seconds_; }

 private:
  const GenerateOptions& options_;
  const Job& job_;
  media::MediaMetadata metadata_;
  SeamMetrics seams_;
  std::optional<media::VideoWriter> writer_;
  Sha256 digest_;  // over the per-frame SHA-256 values in frame order
  std::int64_t frames_ = 0;
  std::vector<float> latents_;
  double encode_seconds_ = 0;
};

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

Json report_of(const Job& job, const Outputs& outputs, const RankReport& rank, const Timings& t,
               const model::Backend& backend) {
  const auto frames = outputs.frames();
  return {{"software", std::string("seamwright ") + kVersion},
          {"request", to_json(job.request)},
          {"layout", {{"window_parallel_size", 1}, {"pipeline_parallel_size", 1}}},
          {"fingerprint", backend.fingerprint()},
          {"evaluations", rank.forwards},
          {"frames", frames},
          {"seam", to_json(outputs.seams())},
          {"seconds",
           {{"load", t.load},
            {"prompt", t.prompt},
            {"denoise", t.work - rank.decode_seconds - outputs.encode_seconds()},
            {"decode", rank.decode_seconds},
            {"encode", outputs.encode_seconds()},
            {"total", t.load + t.prompt + t.work}}},
          {"frames_per_second", t.work > 0 ? static_cast<double>(frames) / t.work : 0.0},
          {"peak_memory_bytes", peak_memory_bytes()},
          {"bytes_moved", rank.bytes_sent}};
}

// One rank that holds everything: a plan without messages.
GangPlan single_rank_plan(const Job& job, const model::VideoModel& model) {
  GangPlan plan;
  plan.request = plan_request_for(job);
  plan.costs = scheduling::uniform_costs(plan.layout, 1.0);
  auto& sizes = plan.costs.sizes;
  sizes.latent_frame_bytes = static_cast<std::int64_t>(job.latent.size() * sizeof(float));
  sizes.history_frames = job.sampler->uses_history() ? 1 : 0;
  sizes.output_frame_bytes = 3LL * job.request.width * job.request.height;
  plan.visits = {{0, model.denoiser().blocks().size()}};
  return plan;
}

}  // namespace

GenerateResult generate(const GenerateOptions& options, const GenerateHooks& hooks) {
  const auto note = [&](const std::string& line) {
    if (hooks.note) hooks.note(line);
  };
  validate(options.request);
  const int threads = options.threads > 0
                          ? options.threads
                          : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  const auto load_begin = Clock::now();
  auto backend = make_backend(options.request.device, options.request.precision, threads);
  model::LoadOptions load;
  load.model = options.model_folder;
  if (!options.request.motion_adapter.empty()) load.motion_adapter = options.request.motion_adapter;
  if (!options.request.vae.empty()) load.vae = options.request.vae;
  load.per_frame_motion_norm = options.request.motion_norm == "per-frame";
  const auto model = model::VideoModel::load(load, *backend);
  const Job job = resolve(options.request, *model, options.tensors);
  Timings timings;
  timings.load = seconds_since(load_begin);

  media::MediaMetadata metadata;
  metadata.software = std::string("seamwright ") + kVersion;
  metadata.request = to_json(job.request);
  metadata.models = Json::array(
      {{{"name", options.model_folder.filename().string()}, {"sha256", model->hash()}}});
  metadata.mark_ai_generated = options.mark_ai_generated;
  Outputs outputs(options, job, metadata);
  note(describe(job));

  model::Arena arena(backend->memory());
  model::Exec exec{*backend, arena};
  const auto prompt_begin = Clock::now();
  std::vector<std::string> warnings;
  auto prompts = encode_prompts(job, model->text(), exec, warnings);
  timings.prompt = seconds_since(prompt_begin);
  for (const auto& warning : warnings) note("warning: " + warning);

  GenerateResult result;
  const auto begin = Clock::now();
  Progress progress{.evaluations_total = job.evaluations(), .frames_total = job.request.frames};
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
    ++progress.evaluations;
    report_progress();
  };
  RankReport rank;
  try {
    rank = run_rank(0, job, single_rank_plan(job, *model), *model, exec, std::move(prompts),
                    nullptr, rank_hooks);
    result.complete = true;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCancelled) throw;
    rank.forwards = progress.evaluations;
  }
  result.video = outputs.finish_video(result.complete);
  timings.work = seconds_since(begin);
  result.frames = outputs.frames();
  result.report = report_of(job, outputs, rank, timings, *backend);
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

}  // namespace seamwright::worker
