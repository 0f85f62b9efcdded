#include "worker/rank_run.h"

#include "base/error.h"
#include "scheduling/planner.h"
#include "worker/data_store.h"
#include "worker/process_usage.h"
#include "worker/rank_engine.h"

namespace seamwright::worker {

std::size_t picture_bytes(const Job& job) {
  constexpr std::size_t kDigestBytes = 32;
  return kDigestBytes + static_cast<std::size_t>(job.request.width) *
                            static_cast<std::size_t>(job.request.height) * 3;
}

scheduling::PlanRequest plan_request_for(const Job& job) {
  scheduling::PlanRequest plan;
  plan.windows = job.schedule.request();
  plan.steps = job.steps();
  plan.branches = job.branches;
  plan.coherence = scheduling::parse_coherence(job.request.coherence);
  plan.lag = job.request.lag;
  plan.rounds = job.causal() ? job.request.resample : 1;
  plan.order = scheduling::parse_order(job.request.order);
  plan.decode_frames = static_cast<int>(job.decode_chunk);
  return plan;
}

namespace {

TaskHooks task_hooks(const RankHooks& hooks) {
  TaskHooks tasks = hooks.tasks;
  if (hooks.durability == nullptr) return tasks;
  tasks.save_record = [&durability = *hooks.durability](RecordKey key, comm::Bytes bytes) {
    durability.save(key, std::move(bytes));
  };
  tasks.load_record = [&hooks](RecordKey key) {
    if (hooks.failpoints != nullptr) hooks.failpoints->on_load();
    return hooks.durability->load(key);
  };
  return tasks;
}

RankEngineHooks engine_hooks(const RankHooks& hooks) {
  RankEngineHooks engine;
  engine.stop = hooks.stop;
  engine.task_done = [&hooks](const scheduling::PlannedTask& task) {
    if (hooks.failpoints != nullptr) hooks.failpoints->on_done(task);
    if (hooks.task_done) hooks.task_done(task);
  };
  if (hooks.failpoints != nullptr) {
    engine.task_starts = [&failpoints = *hooks.failpoints](const scheduling::PlannedTask& task) {
      failpoints.on_task(task.position);
    };
  }
  if (hooks.durability != nullptr) {
    engine.may_start = [&durability = *hooks.durability](const scheduling::PlannedTask& task) {
      return durability.allows(task);
    };
    engine.failed = [&durability = *hooks.durability](const Error& error) {
      durability.end(error);
    };
  }
  return engine;
}

}  // namespace

RankReport run_rank(int rank, const Job& job, const GangPlan& plan,
                    const scheduling::ResumeState& resume, const model::VideoModel& model,
                    model::Exec exec, std::vector<BranchPrompts> prompts, comm::Fabric* fabric,
                    const RankHooks& hooks) {
  DataStore store;
  StageModel stage(job, model.denoiser(), exec, std::move(prompts));
  TaskRunner runner(job, plan.request, plan.visits, &stage, &model.codec(), exec, store,
                    task_hooks(hooks));
  scheduling::Planner planner(plan.request, plan.layout, plan.costs, resume);
  WireContext wire;
  wire.frame_size = job.latent.size();
  wire.backend = &exec.backend;
  wire.cuts = plan.cuts;
  wire.picture_bytes = picture_bytes(job);
  wire.carries_latents = hooks.tasks.carry_latents;
  RankEngine engine(rank, plan_source(planner), runner, store, std::move(wire), fabric, engine_hooks(hooks));
  if (hooks.durability != nullptr) {
    hooks.durability->set_listener([&engine](const Error* error) {
      if (error == nullptr) {
        engine.wake();
      } else {
        engine.end(*error);
      }
    });
  }
  try {
    engine.run();
  } catch (...) {
    if (hooks.durability != nullptr) hooks.durability->set_listener({});
    throw;
  }
  if (hooks.durability != nullptr) hooks.durability->set_listener({});
  ensure(store.size() == 0, "{} data are left after the last task", store.size());
  RankReport report;
  report.tasks = engine.tasks();
  report.forwards = runner.forwards();
  report.bytes_sent = engine.bytes_sent();
  report.messages_sent = engine.messages_sent();
  report.peak_live_bytes = store.peak_bytes();
  report.planned_live_bytes = planner.live_bytes_max()[static_cast<std::size_t>(rank)];
  report.resident_weight_bytes = static_cast<std::int64_t>(model.resident_bytes());
  report.peak_memory_bytes = peak_memory_bytes();
  report.plan_hash = planner.hash();
  report.forward_seconds = runner.seconds(scheduling::TaskKind::kForward);
  report.decode_seconds = runner.seconds(scheduling::TaskKind::kDecode);
  return report;
}

}  // namespace seamwright::worker
