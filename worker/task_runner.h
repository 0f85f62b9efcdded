// Executes one task of a plan on one rank: reads its inputs from the store, puts its outputs there.
// The same code in every layout; a one-rank job is a plan without messages.
// Threads: one thread at a time; the store may be filled by another.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "model/video_model.h"
#include "scheduling/plan.h"
#include "worker/data_store.h"
#include "worker/durable_store.h"
#include "worker/job.h"
#include "worker/stage_model.h"
#include "worker/task_executor.h"

namespace seamwright::worker {

// Decoded frames in order, on rank 0: RGB8 [count, H, W, 3] and one SHA-256 per frame's latent.
struct DecodedChunk {
  std::int64_t first_frame = 0;
  int count = 0;
  std::span<const std::uint8_t> digests;  // [count, 32]
  std::span<const std::uint8_t> pixels;
  std::span<const float> latents;     // [count, C, h, w]; empty unless asked for
  std::shared_ptr<const void> owner;  // of all of these, for whoever needs them after the call
  // Pixels may be read once it has returned; empty: at once.
  std::function<void()> arrive;
};

struct TaskHooks {
  std::function<void(const DecodedChunk&)> emit;  // kEmit; rank 0 only
  bool carry_latents = false;                     // send final latents along with the pixels
  // Durable records of what checkpoint tasks made, and where the records that sources read come
  // from; null where nothing is kept.
  std::function<void(RecordKey, comm::Bytes)> save_record;
  std::function<comm::Bytes(RecordKey)> load_record;
};

// What one visit of a micro-batch runs, and what it leaves behind.
struct Visit {
  model::BlockRange blocks;
  std::vector<std::string> sends;  // activations that cross the cut after it
  std::vector<std::string> keeps;  // activations that stay on its rank for a later visit (folded)
};

class TaskRunner final : public TaskExecutor {
 public:
  // `visits`: every visit of the layout. `stage` may be null on ranks that run
  // no kForward task, `codec` on ranks without kDecode.
  TaskRunner(const Job& job, const scheduling::PlanRequest& plan, const std::vector<Visit>& visits,
             StageModel* stage, const model::FrameCodec* codec, model::Exec exec, DataStore& store,
             TaskHooks hooks);

  void run(const scheduling::PlannedTask& planned) override;

  // U-Net visits done; seconds spent by kind of task.
  std::int64_t forwards() const { return forwards_; }
  double seconds(scheduling::TaskKind kind) const;
  std::int64_t tasks_done() const { return tasks_done_; }

 private:
  using Task = scheduling::Task;
  using Outputs = TaskOutputs;

  Outputs compute(const scheduling::PlannedTask& planned);
  Outputs source(const scheduling::PlannedTask& planned);
  // Durable records (record_tasks.cpp).
  Outputs load(const scheduling::PlannedTask& planned) const;
  void save(const Task& t, const Outputs& made) const;
  Outputs forward(const scheduling::PlannedTask& planned);
  model::Tensor sample_of(const Task& t, const std::vector<int>& frames);
  Outputs combine(const Task& t);
  Outputs advance(const Task& t);
  Outputs enter(const Task& t);
  Outputs mix_round(const Task& t);
  Outputs decode(const Task& t);
  Outputs emit(const Task& t);

  // Helpers of the causal mode.
  int followed_frames(int window) const;
  int shared_with_successor(int window) const;
  int lead_step(int step) const;
  // The noise that a frame's latent holds when a round at this level begins.
  void carried_noise(int frame, int level, int round, std::span<float> out) const;
  // A clean estimate of the frame brought to this level, with that noise.
  void renoise(int frame, int level, int round, std::span<const float> clean,
               std::span<float> latent) const;
  void step_window(const Task& t, const Datum& input, const Datum& prediction, const Datum& clean,
                   Outputs& out) const;

  model::Tensor copy_of(model::ConstView view) const;
  std::vector<float> initial_state(int frame) const;
  bool known(int frame) const { return job_.given && job_.given->known(frame); }
  // A known frame's latent at this level: its clean latent re-noised, exact at the last level.
  void hold_known(int level, int frame, std::span<float> latent) const;
  std::size_t frame_size() const { return job_.latent.size(); }
  // One frame's latent and sampler history.
  std::size_t state_size() const;
  void sampler_step(int step, int frame, std::span<const float> state,
                    std::span<const float> prediction, std::span<float> next) const;

  const Job& job_;
  const scheduling::PlanRequest& plan_;
  std::vector<Visit> visits_;
  StageModel* stage_;
  const model::FrameCodec* codec_;
  model::Exec exec_;
  DataStore& store_;
  TaskHooks hooks_;
  std::int64_t forwards_ = 0, tasks_done_ = 0;
  std::vector<double> seconds_;
};

}  // namespace seamwright::worker
