// One video on this machine: from a request to a finished file, its sidecar and its report.
// Threads: one thread, and one that writes frames; `stop` may be
// set from any thread or a signal handler.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/request.h"
#include "comm/fabric.h"
#include "media/video_writer.h"
#include "model/backend.h"
#include "scheduling/plan.h"
#include "worker/durable_store.h"
#include "worker/job.h"
#include "worker/model_cache.h"
#include "worker/task_runner.h"

namespace seamwright::worker {

struct GenerateOptions {
  JobRequest request;
  TensorFiles tensors;
  std::filesystem::path model_folder;  // resolved from request.model; or a single-file checkpoint
  std::filesystem::path tokenizer_fallback;  // CLIP's tokenizer, for files without one beside them
  std::filesystem::path out;                 // video file or PNG folder; empty = latents only
  std::optional<std::filesystem::path> report, latents_out;
  bool mark_ai_generated = true;
  // Grid intensity: the report then says grams of CO2e beside joules, where these can be read.
  std::optional<double> grams_co2e_per_kwh;
  int threads = 0;          // of one rank; 0 = all cores shared among the ranks of this process
  int encoder_threads = 0;  // 0: see encoder_threads_for() in outputs.h
  scheduling::Layout layout;
  std::string fabric = "auto";  // between GPUs of ranks that are processes: auto, nccl or mpi
  int rank_on_host = -1;        // which of this host's GPUs a rank takes; -1: as its rank
  std::string fabric_note;      // for people: how messages go, and why
  // Of the plan (cost_measurement.h): auto, measured or counted.
  // Changes who makes what, not what is made.
  std::string costs = "auto";
  const std::atomic<bool>* stop = nullptr;
  std::shared_ptr<ModelCache> models;  // null: loaded for this job alone

  // Recovery: what is made is kept, and what was kept is gone on from. At most one of the two.
  std::filesystem::path resume;  // in this folder
  std::function<std::unique_ptr<DurableStore>(const DurableIdentity&)> open_store;  // rank 0
  int checkpoint_steps = -1;  // levels between records; 0 = segments only, -1 = chosen by cost
  int segment_frames = media::kGroupFrames;
  // A task that runs longer than this, and far longer than such tasks do, ends the gang
  // (progress_watch.h); 0 = the default.
  double stall_limit_s = 0;
  // False: whoever keeps the store joins the segments; `out` only says that there is a video.
  bool join_segments = true;
  std::string failpoint;  // failpoint.h; for tests
  // Of the jobs that one gang runs: which one this is. Its ranks tell rank 0's hook when their
  // tasks ran, if asked to.
  std::uint32_t run = 0;
  bool tell_tasks = false;
  bool one_process = false;  // all ranks are threads of this process and read the same files
};

struct Progress {
  std::int64_t evaluations = 0, evaluations_total = 0;
  std::int64_t frames = 0, frames_total = 0;  // written
  double seconds = 0;                         // since denoising began
};

struct GenerateHooks {
  std::function<void(const std::string& line)> note{};  // what will be done, warnings
  // On the thread that runs tasks and on the one that writes frames, one call at a time.
  std::function<void(const Progress&)> progress{};
  std::function<void(const DecodedChunk&)> frames{};  // once written; on the thread that does it
  // A task of a rank of this process that is done, and when it ran; on the rank's thread.
  std::function<void(int rank, const scheduling::Task&, std::chrono::steady_clock::time_point begin,
                     std::chrono::steady_clock::time_point end)>
      task{};
  // Rank 0: the ranks get on, as far as can be seen, also while nothing else is said. Often, and on
  // any thread.
  std::function<void()> alive{};
  // A task hangs, so the run may never return: the process should be ended. On any thread.
  std::function<void(const Error&)> lost{};
};

struct GenerateResult {
  std::filesystem::path video;      // empty when nothing was written
  bool complete = false;            // false after a stop: the file holds the frames done so far
  std::int64_t durable_frames = 0;  // after a stop: frames that a resume will not make again
  std::int64_t frames = 0;
  nlohmann::json report;
};

// All ranks of options.layout in this process, as threads over a loopback fabric. Validates
// everything before work starts. A stop is not an error: see GenerateResult::complete.
GenerateResult generate(const GenerateOptions& options, const GenerateHooks& hooks);

// One rank of a gang; every rank calls it with the same options. Rank 0 writes the outputs and has
// the result; the others return an empty one. `fabric` may be null for a gang of one.
GenerateResult generate_as_rank(const GenerateOptions& options, const GenerateHooks& hooks,
                                int rank, comm::Fabric* fabric);

// What went wrong where every rank of a gang failed: the others only hear that the gang is over, so
// a failure that says something else comes first. By rank; null where a rank did not fail. Returns
// if none did.
void rethrow_cause(const std::vector<std::exception_ptr>& failures);

// device auto|cpu|cuda|reference, precision fp32|bf16|fp16; throws kUnsupported for what this build
// lacks. auto: a GPU where this build and host have one. Ranks share this host's GPUs in turn.
std::unique_ptr<model::Backend> make_backend(const std::string& device,
                                             const std::string& precision, int threads,
                                             int rank = 0);

// What the bits of a job follow from beside its request and its model: backend, device and program.
std::string numerics_of(const model::Backend& backend);

}  // namespace seamwright::worker
