#include "worker/generate.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/version.h"
#include "media/metadata.h"
#include "model/arena.h"
#include "model/cuda/cuda_backend.h"
#include "scheduling/needs.h"
#include "worker/cost_measurement.h"
#include "worker/energy.h"
#include "worker/folder_store.h"
#include "worker/gang_setup.h"
#include "worker/given_frames.h"
#include "worker/loaded_rank.h"
#include "worker/output_thread.h"
#include "worker/outputs.h"
#include "worker/pulse.h"
#include "worker/rank_run.h"
#include "worker/rank_services.h"
#include "worker/rehearsal.h"
#include "worker/report.h"
#include "worker/task_spans.h"

namespace seamwright::worker {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::json;

// From slow disks a large model takes minutes.
constexpr std::chrono::minutes kLoadLimit{30};

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
  const auto windows = scheduling::windows_to_denoise(job.schedule, 1);
  return fmt::format(
      "{} frames at {}x{} in {} window{} of {} (overlap {}, {}, {}{}), {} {} steps, guidance {}: "
      "{} "
      "U-Net evaluations",
      r.frames, r.width, r.height, windows, windows == 1 ? "" : "s",
      std::min<std::int64_t>(r.window, r.frames), r.overlap, r.window_schedule, r.coherence,
      job.causal() ? fmt::format(" lag {} rounds {}", r.lag, r.resample) : ", " + r.fuse,
      job.steps(), r.sampler, r.guidance, job.evaluations());
}

media::MediaMetadata metadata_for(const GenerateOptions& options, const LoadedRank& l) {
  media::MediaMetadata metadata;
  metadata.software = std::string("seamwright ") + kVersion;
  metadata.request = to_json(l.job->request);
  metadata.models =
      Json::array({{{"name", model_name(options.model_folder)}, {"sha256", l.model->hash()}}});
  metadata.mark_ai_generated = options.mark_ai_generated;
  return metadata;
}

int cores() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

// Where this rank 0 keeps what it makes; null where nothing is kept.
std::unique_ptr<DurableStore> open_store(const GenerateOptions& options, const LoadedRank& l,
                                         const FolderStoreOptions& folder) {
  if (options.resume.empty() && !options.open_store) return nullptr;
  check_resumable(options);
  const auto identity = identity_of(options, *l.job, l.model->hash(), numerics_of(*l.backend));
  if (options.open_store) return options.open_store(identity);
  return open_folder_store(options.resume, identity, folder);
}

// Encodes what the video starts from, beside the output, where every host of a gang can read it.
// False on rank 0 after a stop; the others get it as kCancelled.
bool take_given_frames(const GenerateOptions& options, const GenerateHooks& hooks, LoadedRank& l,
                       comm::Fabric* fabric) {
  model::Arena arena(l.backend->memory());
  auto folder = options.out.has_parent_path() ? options.out.parent_path()
                : options.out.empty()         ? std::filesystem::temp_directory_path()
                                              : std::filesystem::path(".");
  if (std::error_code ignored; !std::filesystem::is_directory(folder, ignored)) {
    folder = std::filesystem::temp_directory_path();
  }
  const auto encoded = [&] {
    if (hooks.alive) hooks.alive();
    if (options.stop == nullptr || !options.stop->load()) return;
    fail(ErrorCode::kCancelled, "stopped while the given frames were encoded");
  };
  const bool first = fabric == nullptr || fabric->rank() == 0;
  try {
    l.job->given = share_given_frames(*l.job, *l.model, model::Exec{*l.backend, arena}, folder,
                                      fabric, encoded);
  } catch (const Error& error) {
    if (!first || error.code() != ErrorCode::kCancelled) throw;
    return false;
  }
  return true;
}

// Tells the hook when each task of this rank ran.
void add_task_times(RankHooks& rank_hooks, int rank, const GenerateHooks& hooks) {
  if (!hooks.task) return;
  rank_hooks.task_timed = [rank, &hooks](const scheduling::PlannedTask& task,
                                         Clock::time_point begin, Clock::time_point end) {
    hooks.task(rank, task.task, begin, end);
  };
}

// A rank that is not 0: its tasks, and no outputs.
GenerateResult follow(LoadedRank& l, int rank, comm::Fabric* fabric, const GenerateOptions& options,
                      const GenerateHooks& task_hooks, RankServices& services) {
  model::Arena arena(l.backend->memory());
  model::Exec exec{*l.backend, arena};
  StageModel stage(*l.job, l.model->denoiser(), exec, share_prompts({}, fabric));
  rehearse(rank, *l.job, l.plan, stage, l.model->codec(), exec);
  RankHooks hooks;
  hooks.tasks.carry_latents = options.latents_out.has_value();
  hooks.services = &services;
  add_task_times(hooks, rank, task_hooks);
  std::optional<TaskSpans> spans;
  if (options.tell_tasks && !task_hooks.task && fabric != nullptr) {
    spans.emplace(*fabric, options.run);
    hooks.task_timed = [&spans](const scheduling::PlannedTask& task, Clock::time_point begin,
                                Clock::time_point end) { spans->add(task.task, begin, end); };
  }
  auto report = run_rank(rank, *l.job, l.plan, services.recovery().resume, *l.model, stage, exec,
                         fabric, hooks);
  if (spans) spans->send();
  gather_reports(report, fabric);
  return {};
}

// Of this host's processors, and of the GPUs that the ranks of a CUDA job share in turn.
EnergyMeter meter_for(const model::Backend& backend, int ranks) {
  std::vector<std::string> addresses;
  if (backend.name() == "cuda") {
    for (const auto& device : model::cuda_devices()) {
      if (static_cast<int>(addresses.size()) < ranks) addresses.push_back(device.pci_address);
    }
  }
  return EnergyMeter::of_host(addresses);
}

// Rank 0: its tasks, and all that a user sees.
class Leader {
 public:
  Leader(const GenerateOptions& options, const GenerateHooks& hooks, LoadedRank& loaded,
         RankServices& services, comm::Fabric* fabric)
      : options_(options),
        hooks_(hooks),
        l_(loaded),
        job_(*loaded.job),
        services_(services),
        fabric_(fabric),
        metadata_(metadata_for(options, loaded)),
        energy_(meter_for(*loaded.backend, options.layout.ranks())),
        encoder_threads_(encoder_threads_for(options, loaded.backend->name(), cores())),
        outputs_(options, job_, metadata_, encoder_threads_, services.store(),
                 [this](std::int64_t frame) { services_.durability()->published(frame); }) {}

  GenerateResult run(double load_seconds) {
    timings_.load = load_seconds;
    describe_work();
    model::Arena arena(l_.backend->memory());
    model::Exec exec{*l_.backend, arena};
    const auto prompt_begin = Clock::now();
    std::vector<std::string> warnings;
    auto prompts = share_prompts(encode_prompts(job_, l_.model->text(), exec, warnings), fabric_);
    timings_.prompt = seconds_since(prompt_begin);
    for (const auto& warning : warnings) note("warning: " + warning);
    StageModel stage(job_, l_.model->denoiser(), exec, std::move(prompts));
    timings_.rehearsal = rehearse(0, job_, l_.plan, stage, l_.model->codec(), exec);
    begin_ = Clock::now();
    Json ranks = Json::array();
    try {
      const auto report = run_rank(0, job_, l_.plan, services_.recovery().resume, *l_.model, stage,
                                   exec, fabric_, rank_hooks());
      ranks = gather_reports(report, fabric_);
      result_.complete = true;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kCancelled) throw;
      RankReport partial;
      partial.forwards = progress_.evaluations;
      ranks = gather_reports(partial, nullptr);
    }
    services_.watch().over();
    finish(ranks);
    return std::move(result_);
  }

 private:
  void note(const std::string& line) const {
    if (hooks_.note) hooks_.note(line);
  }

  void describe_work() const {
    note(describe(job_));
    const auto& layout = options_.layout;
    if (layout.ranks() > 1) {
      note(fmt::format("{} ranks: {} pipeline group{} of {} stage{}", layout.ranks(), layout.groups,
                       layout.groups == 1 ? "" : "s", layout.stages,
                       layout.stages == 1 ? "" : "s"));
    }
    if (!options_.fabric_note.empty()) note(options_.fabric_note);
    if (l_.plan.measured) note("costs: " + l_.plan.costs_reason);
    const auto& r = services_.recovery();
    if (!r.kept || r.attempt == 1) return;
    note(
        fmt::format("attempt {}: goes on from frame {} with {} record{}; {} of {} evaluations left",
                    r.attempt, r.resume.first_missing_frame, r.resume.records.size(),
                    r.resume.records.size() == 1 ? "" : "s",
                    evaluations_left(l_.plan.request, r.resume), job_.evaluations()));
  }

  RankHooks rank_hooks() {
    // Of a gang, rank 0 shows its own share of the work.
    const auto left = evaluations_left(l_.plan.request, services_.recovery().resume);
    const std::int64_t share =
        std::max<std::int64_t>(1, left * l_.plan.layout.visits() / l_.plan.layout.ranks());
    progress_ = {.evaluations_total = share,
                 .frames = outputs_.frames(),
                 .frames_total = job_.request.frames};
    RankHooks hooks;
    hooks.stop = options_.stop;
    hooks.tasks.carry_latents = options_.latents_out.has_value();
    hooks.tasks.emit = [this](const DecodedChunk& chunk) { hand_over(chunk); };
    hooks.task_done = [this, share](const scheduling::PlannedTask& task) {
      if (task.task.kind != scheduling::TaskKind::kForward) return;
      const std::lock_guard lock(progress_mutex_);
      progress_.evaluations = std::min(progress_.evaluations + 1, share);
      report_progress();
    };
    hooks.services = &services_;
    add_task_times(hooks, 0, hooks_);
    return hooks;
  }

  // The last frames are waited for here, where their failure still ends all ranks together.
  void hand_over(const DecodedChunk& chunk) {
    writing_.add(chunk);
    if (chunk.first_frame + chunk.count < job_.request.frames) return;
    writing_.drain([this] { services_.watch().gets_on(); });
  }

  // On the thread that writes.
  void write(const DecodedChunk& chunk) {
    if (!timings_.first_frame) timings_.first_frame = seconds_since(begin_);
    outputs_.chunk(chunk);
    if (hooks_.frames) hooks_.frames(chunk);
    const std::lock_guard lock(progress_mutex_);
    progress_.frames = outputs_.frames();
    report_progress();
  }

  // What was handed over before a stop is written too; unless the store was ended by the stop.
  void write_rest() {
    try {
      writing_.drain();
    } catch (const Error& error) {
      if (result_.complete || error.code() != ErrorCode::kCancelled) throw;
    }
  }

  void report_progress() {
    progress_.seconds = seconds_since(begin_);
    if (hooks_.progress) hooks_.progress(progress_);
  }

  void finish(const Json& ranks) {
    write_rest();
    const auto finish_begin = Clock::now();
    result_.video = outputs_.finish_video(result_.complete);
    const double finish_seconds = seconds_since(finish_begin);
    timings_.work = seconds_since(begin_);
    timings_.encode = writing_.busy_seconds() + finish_seconds;
    timings_.pixel_wait = writing_.arrival_seconds();
    timings_.encode_wait = writing_.wait_seconds() + finish_seconds;
    result_.frames = outputs_.frames();
    result_.durable_frames = outputs_.durable_frames();
    result_.report = report_of(job_, outputs_, l_.plan, ranks, timings_, *l_.backend);
    result_.report["complete"] = result_.complete;
    result_.report["encoder_threads"] = encoder_threads_;
    result_.report["models"] = metadata_.models;
    result_.report["latents_sha256"] = outputs_.digest_hex();
    if (auto energy = energy_.report(options_.grams_co2e_per_kwh); !energy.is_null()) {
      result_.report["energy"] = std::move(energy);
    }
    if (services_.store() != nullptr) {
      result_.report["recovery"] = recovery_report(job_, l_.plan, services_, result_.report);
    }
    outputs_.write_latents();
    if (!result_.video.empty()) {
      Json summary = result_.report;
      summary.erase("request");
      if (options_.latents_out) summary["latents_file"] = outputs_.latents_name(result_.video);
      media::write_sidecar(result_.video, metadata_, summary);
    }
    if (options_.report) write_text_file(*options_.report, result_.report.dump(2) + "\n");
  }

  const GenerateOptions& options_;
  const GenerateHooks& hooks_;
  LoadedRank& l_;
  const Job& job_;
  RankServices& services_;
  comm::Fabric* fabric_;
  const media::MediaMetadata metadata_;
  EnergyMeter energy_;  // from after loading to the finished file
  const int encoder_threads_;
  Outputs outputs_;
  Timings timings_;
  std::mutex progress_mutex_;
  Progress progress_;
  Clock::time_point begin_;
  GenerateResult result_;
  OutputThread writing_{
      [this](const DecodedChunk& chunk) { write(chunk); }};  // last: uses the rest
};

}  // namespace

GenerateResult generate_as_rank(const GenerateOptions& options, const GenerateHooks& hooks,
                                int rank, comm::Fabric* fabric) {
  validate(options.request);
  if (rank == 0) check_given_files(options.request);
  const auto load_begin = Clock::now();
  std::optional<Pulse> loading;
  loading.emplace(hooks.alive, std::chrono::seconds(1), kLoadLimit);
  LoadedRank l = load_rank(options, rank, options.threads > 0 ? options.threads : cores());
  const auto model = options.one_process || fabric == nullptr ? std::string() : l.model->hash();
  const auto agree = [&] {
    if (fabric == nullptr) return;
    check_agreement(agreement_of(*l.job, l.plan, numerics_of(*l.backend), model), *fabric);
  };
  agree();
  settle_costs(options, *l.job, l.model->denoiser(), *l.backend, l.costs_key, l.plan, fabric);
  if (l.plan.measured) agree();
  loading.reset();
  if (!take_given_frames(options, hooks, l, fabric)) return {};  // stopped
  RankServices services(
      options, hooks, *l.job, l.plan, rank, fabric,
      [&](const FolderStoreOptions& folder) { return open_store(options, l, folder); });
  if (rank != 0) return follow(l, rank, fabric, options, hooks, services);
  return Leader(options, hooks, l, services, fabric).run(seconds_since(load_begin));
}

}  // namespace seamwright::worker
