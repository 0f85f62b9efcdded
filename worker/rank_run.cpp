#include "worker/rank_run.h"

#include "base/error.h"
#include "scheduling/planner.h"
#include "worker/data_store.h"
#include "worker/process_usage.h"
#include "worker/rank_engine.h"
#include "worker/rank_services.h"

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
  if (hooks.services == nullptr || hooks.services->durability() == nullptr) return tasks;
  tasks.save_record = [&services = *hooks.services](RecordKey key, comm::Bytes bytes) {
    services.durability()->save(key, std::move(bytes));
  };
  tasks.load_record = [&services = *hooks.services](RecordKey key) {
    services.failpoints().on_load();
    return services.durability()->load(key);
  };
  return tasks;
}

RankEngineHooks engine_hooks(const RankHooks& hooks) {
  RankEngineHooks engine;
  engine.stop = hooks.stop;
  engine.task_timed = hooks.task_timed;
  engine.task_done = hooks.task_done;
  if (hooks.services == nullptr) return engine;
  auto& services = *hooks.services;
  engine.task_starts = [&services](const scheduling::PlannedTask& task) {
    services.watch().starts(task);
    services.failpoints().on_task(task.position);
  };
  // A task that waits for its records is not at work any more.
  engine.task_timed = [&services, &hooks](const scheduling::PlannedTask& task, auto begin,
                                          auto end) {
    services.failpoints().on_timed(task, end - begin);
    services.watch().done(task);
    if (hooks.task_timed) hooks.task_timed(task, begin, end);
  };
  engine.task_done = [&services, &hooks](const scheduling::PlannedTask& task) {
    services.failpoints().on_done(task);
    if (hooks.task_done) hooks.task_done(task);
  };
  engine.stopped = [&services] { services.tell_stop(); };
  if (services.durability() == nullptr) return engine;
  auto& durability = *services.durability();
  engine.may_end = [&durability](const scheduling::PlannedTask& task) {
    return durability.allows(task);
  };
  engine.failed = [&durability](const Error& error) { durability.end(error); };
  return engine;
}

// Tells the engine what becomes durable and that it should stop, while it runs.
class Listening {
 public:
  Listening(RankServices* services, RankEngine& engine)
      : services_(services), durability_(services == nullptr ? nullptr : services->durability()) {
    if (services_ != nullptr) services_->set_stop_handler([&engine] { engine.request_stop(); });
    if (durability_ == nullptr) return;
    durability_->set_listener([&engine](const Error* error) {
      if (error == nullptr) {
        engine.wake();
      } else {
        engine.end(*error);
      }
    });
  }
  ~Listening() {
    if (services_ != nullptr) services_->set_stop_handler({});
    if (durability_ != nullptr) durability_->set_listener({});
  }
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;

 private:
  RankServices* services_;
  Durability* durability_;
};

// What has gone through the fabric so far, to and from all ranks; mail is not in it.
comm::PeerTraffic traffic_of(const comm::Fabric* fabric) {
  comm::PeerTraffic sum;
  if (fabric == nullptr) return sum;
  for (const auto& peer : fabric->traffic()) {
    sum.bytes_sent += peer.bytes_sent;
    sum.bytes_received += peer.bytes_received;
  }
  return sum;
}

}  // namespace

RankReport run_rank(int rank, const Job& job, const GangPlan& plan,
                    const scheduling::ResumeState& resume, const model::VideoModel& model,
                    StageModel& stage, model::Exec exec, comm::Fabric* fabric,
                    const RankHooks& hooks) {
  DataStore store;
  TaskRunner runner(job, plan.request, plan.visits, &stage, &model.codec(), exec, store,
                    task_hooks(hooks));
  // Small pieces: what is planned ahead must not show in the memory of a long video.
  scheduling::PlanOptions pieces;
  pieces.chunk_tasks = 512;
  scheduling::Planner planner(plan.request, plan.layout, plan.costs, resume, pieces);
  WireContext wire;
  wire.frame_size = job.latent.size();
  wire.backend = &exec.backend;
  wire.cuts = plan.cuts;
  wire.picture_bytes = picture_bytes(job);
  wire.carries_latents = hooks.tasks.carry_latents;
  wire.device_messages = fabric != nullptr && fabric->carries_device_memory() &&
                         exec.backend.stream_behind_work() != nullptr;
  RankEngine engine(rank, plan_source(planner), runner, store, std::move(wire), fabric,
                    engine_hooks(hooks));
  const auto before = traffic_of(fabric);
  {
    const Listening listening(hooks.services, engine);
    engine.run();
  }
  const auto after = traffic_of(fabric);
  ensure(store.size() == 0, "{} data are left after the last task", store.size());
  RankReport report;
  report.tasks = engine.tasks();
  report.forwards = runner.forwards();
  report.bytes_sent = static_cast<std::int64_t>(after.bytes_sent - before.bytes_sent);
  report.bytes_received = static_cast<std::int64_t>(after.bytes_received - before.bytes_received);
  report.messages_sent = engine.messages_sent();
  report.peak_live_bytes = store.peak_bytes();
  report.planned_live_bytes = planner.live_bytes_max()[static_cast<std::size_t>(rank)];
  report.resident_weight_bytes = static_cast<std::int64_t>(model.resident_bytes());
  report.peak_memory_bytes = peak_memory_bytes();
  report.peak_device_bytes = static_cast<std::int64_t>(exec.backend.peak_device_bytes());
  report.plan_hash = planner.hash();
  report.forward_seconds = runner.seconds(scheduling::TaskKind::kForward);
  report.decode_seconds = runner.seconds(scheduling::TaskKind::kDecode);
  for (const auto kind : {scheduling::TaskKind::kCombine, scheduling::TaskKind::kAdvance,
                          scheduling::TaskKind::kEnter, scheduling::TaskKind::kMix}) {
    report.fuse_seconds += runner.seconds(kind);
  }
  report.record_wait_seconds = engine.end_wait_s();
  report.back_to_back_tasks = engine.runtime_cost().tasks;
  report.back_to_back_seconds = engine.runtime_cost().seconds;
  return report;
}

}  // namespace seamwright::worker
