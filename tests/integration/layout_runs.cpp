#include "tests/integration/layout_runs.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "media/child_process.h"
#include "scheduling/planner.h"
#include "scheduling/walk.h"
#include "tests/integration/fault_run.h"
#include "tests/unit/media/temporary_folder.h"
#include "worker/gang_job.h"
#include "worker/gang_plan.h"

namespace seamwright {
namespace {

using Json = nlohmann::json;
using worker::GenerateOptions;

std::shared_ptr<worker::ModelCache> models() {
  static const auto cache = std::make_shared<worker::ModelCache>();
  return cache;
}

// What the plan says that each rank does. Planned here anew, from the request alone.
struct Planned {
  struct Rank {
    std::int64_t tasks = 0, forwards = 0, messages_sent = 0;
    std::int64_t bytes_sent = 0, bytes_received = 0;
    std::int64_t live_bytes = 0, weight_bytes = 0;
  };
  std::vector<Rank> ranks;
  std::string hash;
};

model::LoadOptions load_of(const GenerateOptions& options) {
  model::LoadOptions load;
  load.model = options.model_folder;
  return load;
}

// Of the parts of the model that are named, resident; made once.
std::int64_t weights_of(const GenerateOptions& options, std::vector<model::BlockRange> blocks,
                        bool text) {
  static std::map<std::string, std::int64_t> known;
  auto load = load_of(options);
  load.parts = {model::Part::kDenoiser, model::Part::kCodec};
  if (text) load.parts.push_back(model::Part::kTextEncoder);
  std::string key = options.request.precision + (text ? " text" : "");
  for (const auto& run : blocks) key += fmt::format(" {}-{}", run.first, run.last);
  load.blocks = std::move(blocks);
  const auto [at, added] = known.try_emplace(key);
  if (added) {
    const auto backend = worker::make_backend("cpu", options.request.precision, 1);
    at->second =
        static_cast<std::int64_t>(model::VideoModel::load(load, *backend)->resident_bytes());
  }
  return at->second;
}

// What each rank has to have loaded: its own blocks, and what every rank holds beside them.
std::vector<std::int64_t> planned_weights(const GenerateOptions& options,
                                          const worker::GangPlan& plan) {
  const auto& layout = options.layout;
  if (layout.ranks() == 1) return {weights_of(options, {}, true)};
  const std::int64_t beside = weights_of(options, {{0, 0}}, false);
  std::vector<std::int64_t> all;
  std::int64_t network = 0;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    const auto blocks = worker::blocks_of_stage(plan, rank % layout.stages);
    all.push_back(weights_of(options, blocks, rank == 0));
    if (rank < layout.stages) network += weights_of(options, blocks, false) - beside;
  }
  // Every block is held by exactly one stage.
  EXPECT_EQ(network, weights_of(options, {}, false) - beside);
  return all;
}

// The model as one rank has it; one of each precision.
const worker::LoadedModel& model_of(const GenerateOptions& options) {
  static std::map<std::string, worker::LoadedModel> known;
  auto [at, added] = known.try_emplace(options.request.precision);
  if (added) {
    auto backend = worker::make_backend("cpu", options.request.precision, 1);
    auto model = model::VideoModel::load(load_of(options), *backend);
    at->second = worker::loaded_model(std::move(backend), std::move(model));
  }
  return at->second;
}

Planned plan_of(const GenerateOptions& options) {
  const auto& [backend, model] = model_of(options);
  const auto job = worker::resolve(options.request, *model, options.tensors);
  const auto plan = worker::make_gang_plan(job, load_of(options), *backend, options.layout, false);
  Planned planned;
  planned.ranks.resize(static_cast<std::size_t>(options.layout.ranks()));
  scheduling::Planner planner(plan.request, plan.layout, plan.costs);
  while (!planner.done()) {
    const auto chunk = planner.next_chunk();
    for (const auto& task : chunk.tasks) {
      auto& rank = planned.ranks[static_cast<std::size_t>(task.rank)];
      ++rank.tasks;
      rank.forwards += task.task.kind == scheduling::TaskKind::kForward ? 1 : 0;
    }
    for (const auto& message : chunk.messages) {
      auto& rank = planned.ranks[static_cast<std::size_t>(message.source)];
      ++rank.messages_sent;
      rank.bytes_sent += message.bytes;
      planned.ranks[static_cast<std::size_t>(message.destination)].bytes_received += message.bytes;
    }
  }
  const auto weights = planned_weights(options, plan);
  for (std::size_t r = 0; r < planned.ranks.size(); ++r) {
    planned.ranks[r].live_bytes = planner.live_bytes_max()[r];
    planned.ranks[r].weight_bytes = weights[r];
  }
  planned.hash = fmt::format("{:016x}", planner.hash());
  return planned;
}

void expect_as_planned(const Json& report, const GenerateOptions& options) {
  const auto planned = plan_of(options);
  const auto& ranks = report.at("ranks");
  ASSERT_EQ(ranks.size(), planned.ranks.size());
  std::int64_t forwards = 0;
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    SCOPED_TRACE(fmt::format("rank {}", r));
    const auto& plan = planned.ranks[r];
    EXPECT_EQ(ranks[r].at("plan_hash"), planned.hash);
    EXPECT_EQ(ranks[r].at("tasks"), plan.tasks);
    EXPECT_EQ(ranks[r].at("forwards"), plan.forwards);
    EXPECT_EQ(ranks[r].at("messages_sent"), plan.messages_sent);
    EXPECT_EQ(ranks[r].at("bytes_sent"), plan.bytes_sent);  // as the fabric counts
    EXPECT_EQ(ranks[r].at("bytes_received"), plan.bytes_received);
    EXPECT_EQ(ranks[r].at("resident_weight_bytes"), plan.weight_bytes);
    EXPECT_EQ(ranks[r].at("planned_live_bytes"), plan.live_bytes);
    EXPECT_LE(ranks[r].at("peak_live_bytes").get<std::int64_t>(), plan.live_bytes);
    forwards += plan.forwards;
  }
  EXPECT_EQ(static_cast<double>(forwards),
            report.at("evaluations").get<double>() * options.layout.visits());
}

media::ChildResult run_child(std::vector<std::string> argv, std::chrono::minutes limit) {
  media::ChildSpec spec;
  spec.argv = std::move(argv);
  return media::run_child(spec, limit);
}

// One gang of processes for all of them.
std::vector<Json> over_mpi(const std::vector<GenerateOptions>& runs) {
  const media::TemporaryFolder folder;
  const auto jobs = folder / "jobs.json", reports = folder / "reports.json";
  Json texts = Json::array();
  for (const auto& run : runs) texts.push_back(worker::to_gang_job(run));
  std::ofstream(jobs) << texts.dump();
  const auto made =
      run_child({"mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-x",
                 "GOMP_SPINCOUNT=2000", "-n", std::to_string(runs.front().layout.ranks()),
                 SEAMWRIGHT_LAYOUT_RANK, jobs.string(), reports.string()},
                std::chrono::minutes(30));
  EXPECT_EQ(made.exit.code, 0) << made.errors;
  const auto all = Json::parse(std::ifstream(reports), nullptr, false);
  return all.is_array() ? all.get<std::vector<Json>>() : std::vector<Json>();
}

std::vector<Json> over_threads(const std::vector<GenerateOptions>& runs) {
  std::vector<Json> reports;
  for (auto run : runs) {
    run.models = models();
    reports.push_back(worker::generate(run, {}).report);
  }
  return reports;
}

}  // namespace

bool can_run(Carrier carrier) { return carrier == Carrier::kThreads || has_mpirun(); }

std::string hash_of_one_rank(GenerateOptions options) {
  static std::map<std::string, std::string> known;
  options.layout = {};
  options.threads = 1;
  options.request.order = "throughput";
  const auto [at, added] = known.try_emplace(worker::to_gang_job(options));
  if (added) at->second = worker::generate(options, {}).report.at("latents_sha256");
  return at->second;
}

std::vector<Json> reports_of(const std::vector<GenerateOptions>& runs, Carrier carrier) {
  return carrier == Carrier::kMpi ? over_mpi(runs) : over_threads(runs);
}

void expect_bits_of_one_rank(const std::vector<GenerateOptions>& runs,
                             const std::vector<Json>& reports) {
  ASSERT_EQ(reports.size(), runs.size());
  for (std::size_t i = 0; i < runs.size(); ++i) {
    SCOPED_TRACE(fmt::format("{}, {} threads, {}, {} frames", runs[i].request.order,
                             runs[i].threads, runs[i].request.coherence, runs[i].request.frames));
    ASSERT_TRUE(reports[i].is_object());
    EXPECT_EQ(reports[i].at("latents_sha256"), hash_of_one_rank(runs[i]));
    EXPECT_EQ(reports[i].at("frames"), runs[i].request.frames);
    expect_as_planned(reports[i], runs[i]);
  }
}

Json report_of_program(const GenerateOptions& o) {
  const media::TemporaryFolder folder;
  const auto report = folder / "r.json";
  const auto& r = o.request;
  const auto text = [](auto value) { return fmt::format("{}", value); };
  std::vector<std::string> argv = {SEAMWRIGHT_PROGRAM,
                                   "generate",
                                   "--model",
                                   o.model_folder.string(),
                                   "--prompt",
                                   r.prompt,
                                   "--frames",
                                   text(r.frames),
                                   "--window",
                                   text(r.window),
                                   "--overlap",
                                   text(r.overlap),
                                   "--size",
                                   fmt::format("{}x{}", r.width, r.height),
                                   "--steps",
                                   text(r.steps),
                                   "--guidance",
                                   text(r.guidance),
                                   "--seed",
                                   text(r.seed),
                                   "--order",
                                   r.order,
                                   "--coherence",
                                   r.coherence,
                                   "--window-schedule",
                                   r.window_schedule,
                                   "--context-stride",
                                   text(r.context_stride),
                                   "--sampler",
                                   r.sampler,
                                   "--precision",
                                   r.precision,
                                   "--device",
                                   "cpu",
                                   "--threads",
                                   text(o.threads),
                                   "--window-parallel-size",
                                   text(o.layout.groups),
                                   "--pipeline-parallel-size",
                                   text(o.layout.stages),
                                   "--launcher",
                                   "mpirun",
                                   "--no-video",
                                   "--quiet",
                                   "--report",
                                   report.string()};
  if (o.layout.folded) argv.emplace_back("--folded");
  const auto made = run_child(std::move(argv), std::chrono::minutes(10));
  EXPECT_EQ(made.exit.code, 0) << made.errors;
  return Json::parse(std::ifstream(report), nullptr, false);
}

}  // namespace seamwright
