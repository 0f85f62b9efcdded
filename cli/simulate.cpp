// `seamwright simulate`: what a layout would do, without running it: time, first frames, traffic,
// memory, and why.
#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/request.h"
#include "cli/commands.h"
#include "model/model_folder.h"
#include "model/model_parts.h"
#include "scheduling/simulator.h"
#include "worker/block_table.h"

namespace seamwright::cli {
namespace {

using scheduling::CostTable;
using scheduling::DataKind;
using scheduling::Layout;

struct SimulateFlags {
  std::vector<std::string> layouts = {"1x1"};
  scheduling::PlanRequest plan;
  std::string schedule = "static", coherence = "local", order = "throughput", size = "512x512";
  std::string link = "none", model, precision = "bf16";
  double forward_ms = 50, decode_ms = 0, tflops = 788, memory_gb_s = 4300, memory_gib = 0;
  double tolerance = 0.05, speed_spread = 0, overhead_us = 0;
  int ranks_per_host = 8;
  scheduling::SimulationOptions simulation;
  bool explain = false, json = false, no_output = false;
};

struct Links {
  scheduling::LinkCost near, far;
};

// Ranks of a host are joined by NVLink, hosts as named.
Links links_named(const std::string& name) {
  const scheduling::LinkCost nvlink{5e-6, 300e9};
  if (name == "none") return {};
  if (name == "nvlink") return {nvlink, nvlink};
  if (name == "infiniband") return {nvlink, {1e-5, 45e9}};
  if (name == "ethernet25") return {nvlink, {5e-5, 2.9e9}};
  fail(ErrorCode::kInvalidArgument, "unknown link '{}': use none, nvlink, infiniband or ethernet25",
       name);
}

struct Network {
  std::vector<scheduling::PartitionBlock> blocks;  // empty: one forward of a given time
};

Network count_network(const SimulateFlags& flags, int width, int height) {
  if (flags.model.empty()) return {};
  const auto type = flags.precision == "fp32" ? model::DType::kF32 : model::DType::kBF16;
  const auto backend = model::make_dry_backend(type);
  const auto files = model::open_denoiser(model::find_model_folder(flags.model), std::nullopt);
  const auto built = model::build_denoiser(files, *backend);
  worker::MicroBatchSize size;
  size.frames = std::min(flags.plan.windows.window, flags.plan.windows.frames);
  size.width = width / 8;
  size.height = height / 8;
  size.context_width = files.config.cross_attention_dim.front();
  return {worker::block_table(*built.network, *backend, size,
                              {flags.tflops * 1e12, flags.memory_gb_s * 1e9})};
}

// The slowest between neighbouring stages of any group; 0 where links take no time.
double stage_link(const Layout& layout, const CostTable& costs) {
  double slowest = 0;
  for (int rank = 0; rank + 1 < layout.ranks(); ++rank) {
    if (layout.group_of_rank(rank) != layout.group_of_rank(rank + 1)) continue;
    const double speed = costs.link(rank, rank + 1).bytes_per_s;
    if (slowest == 0 || speed < slowest) slowest = speed;
  }
  return slowest;
}

CostTable costs_for(const SimulateFlags& flags, const Layout& layout, const Network& network,
                    std::vector<std::string>& reasons) {
  int width = 0, height = 0;
  parse_size(flags.size, width, height);
  CostTable costs = uniform_costs(layout, flags.forward_ms * 1e-3);
  costs.decode_frame_s = flags.decode_ms * 1e-3;
  const Links links = links_named(flags.link);
  costs.near = links.near;
  costs.far = links.far;
  costs.ranks_per_host = flags.link == "none" ? 0 : flags.ranks_per_host;
  if (!network.blocks.empty()) {
    scheduling::PartitionRequest request;
    request.stages = layout.stages;
    request.folded = layout.folded;
    request.tolerance = flags.tolerance;
    request.link_bytes_per_s = stage_link(layout, costs);
    request.memory_limit = static_cast<std::int64_t>(flags.memory_gib * (1 << 30));
    const int fresh = flags.plan.windows.window - flags.plan.windows.overlap;
    request.decode_s =
        costs.decode_frame_s * fresh / (flags.plan.steps * flags.plan.branches * flags.plan.rounds);
    const auto partition = partition_stages(network.blocks, request);
    scheduling::apply(partition, costs);
    reasons.insert(reasons.end(), partition.reasons.begin(), partition.reasons.end());
  }
  costs.sizes.latent_frame_bytes = 4LL * (width / 8) * (height / 8) * 4;
  costs.sizes.output_frame_bytes = flags.no_output ? 0 : 3LL * width * height;
  for (int rank = 0; flags.speed_spread > 0 && rank < layout.ranks(); ++rank) {
    scheduling::Task key;
    key.window = rank;
    costs.rank_speed.push_back(
        scheduling::jitter_factor(flags.simulation.seed + 7, flags.speed_spread, key));
  }
  return costs;
}

nlohmann::json row_for(const SimulateFlags& flags, const Layout& layout, const CostTable& costs,
                       const scheduling::SimulationResult& run) {
  std::int64_t bytes = 0;
  nlohmann::json traffic = nlohmann::json::object();
  for (const auto& [kind, sum] : run.traffic) {
    bytes += sum.bytes;
    std::string name = to_string(scheduling::DataId{kind});
    name = name.substr(0, name.find(' '));
    traffic[name] = {{"messages", sum.messages}, {"bytes", sum.bytes}};
  }
  const auto boundary = run.traffic.find(DataKind::kPrediction);
  const int groups = std::max(1, layout.groups - 1);
  return {
      {"layout", to_string(layout)},
      {"ranks", layout.ranks()},
      {"makespan_s", run.makespan_s},
      {"frames_per_s", flags.plan.windows.frames / run.makespan_s},
      {"first_frames_s", run.first_output_s},
      {"efficiency", run.efficiency},
      {"bubble_fraction", run.bubble_fraction},
      {"forwards", run.forwards},
      {"redone_forwards", run.redone_forwards},
      {"traffic", traffic},
      {"traffic_bytes", bytes},
      {"prediction_bytes_per_boundary_and_step",
       boundary == run.traffic.end() ? 0 : boundary->second.bytes / groups / flags.plan.steps},
      {"cut_bytes", costs.sizes.cut_bytes},
      {"rank_bytes_max", *std::max_element(run.live_bytes_max.begin(), run.live_bytes_max.end())}};
}

// What tools/stages/least_cut_bytes.py reads.
nlohmann::json blocks_of(const Network& network) {
  auto blocks = nlohmann::json::array();
  for (const auto& block : network.blocks) {
    auto writes = nlohmann::json::array();
    for (const auto& write : block.writes) writes.push_back({write.name, write.bytes});
    blocks.push_back({{"name", block.name},
                      {"seconds", block.seconds},
                      {"weight_bytes", block.weight_bytes},
                      {"reads", block.reads},
                      {"writes", std::move(writes)}});
  }
  return blocks;
}

void print_table(const nlohmann::json& rows) {
  fmt::print("{:>9} {:>6} {:>10} {:>9} {:>11} {:>10} {:>8} {:>11} {:>11}\n", "layout", "ranks",
             "time", "frames/s", "first", "efficiency", "bubble", "traffic", "rank memory");
  for (const auto& row : rows) {
    fmt::print(
        "{:>9} {:>6} {:>8.2f} s {:>9.2f} {:>9.2f} s {:>8.1f} % {:>6.1f} % {:>8.1f} MB {:>8.1f} "
        "MB\n",
        row.at("layout").get<std::string>(), row.at("ranks").get<int>(),
        row.at("makespan_s").get<double>(), row.at("frames_per_s").get<double>(),
        row.at("first_frames_s").get<double>(), 100 * row.at("efficiency").get<double>(),
        100 * row.at("bubble_fraction").get<double>(), row.at("traffic_bytes").get<double>() / 1e6,
        row.at("rank_bytes_max").get<double>() / 1e6);
  }
}

int run(SimulateFlags& flags) {
  auto& plan = flags.plan;
  plan.windows.schedule = scheduling::parse_schedule(flags.schedule);
  plan.coherence = scheduling::parse_coherence(flags.coherence);
  plan.order = scheduling::parse_order(flags.order);
  require(flags.precision == "fp32" || flags.precision == "bf16" || flags.precision == "fp16",
          "unknown precision '{}': use fp32, bf16 or fp16", flags.precision);
  flags.simulation.task_overhead_s = flags.overhead_us * 1e-6;
  if (!flags.simulation.failures_s.empty() && plan.checkpoint_interval == 0) {
    plan.checkpoint_interval = 1;
  }
  int width = 0, height = 0;
  parse_size(flags.size, width, height);
  const Network network = count_network(flags, width, height);
  nlohmann::json rows = nlohmann::json::array();
  std::vector<std::string> explanation;
  for (const auto& text : flags.layouts) {
    const Layout layout = scheduling::parse_layout(text);
    explanation.push_back(fmt::format("{}:", text));
    const CostTable costs = costs_for(flags, layout, network, explanation);
    const auto result = scheduling::simulate(plan, layout, costs, flags.simulation);
    explanation.insert(explanation.end(), result.reasons.begin(), result.reasons.end());
    rows.push_back(row_for(flags, layout, costs, result));
    if (flags.explain) rows.back()["reasons"] = explanation;
    if (flags.explain && flags.json) rows.back()["blocks"] = blocks_of(network);
    if (flags.json) explanation.clear();
  }
  if (flags.json) {
    fmt::print("{}\n", rows.dump(2));
    return 0;
  }
  print_table(rows);
  for (const auto& line : explanation) {
    if (flags.explain) fmt::print("{}{}\n", line.back() == ':' ? "\n" : "  ", line);
  }
  return 0;
}

void add_video_options(CLI::App& verb, SimulateFlags& flags) {
  auto& windows = flags.plan.windows;
  windows.frames = 1540;
  windows.overlap = 4;
  flags.plan.steps = 20;
  verb.add_option("--frames", windows.frames, "frames of the video")->capture_default_str();
  verb.add_option("--window,--context-length", windows.window, "frames in a window")
      ->capture_default_str();
  verb.add_option("--overlap,--context-overlap", windows.overlap, "frames two windows share")
      ->capture_default_str();
  verb.add_option("--window-schedule", flags.schedule, "static, uniform or looped")
      ->capture_default_str();
  verb.add_option("--context-stride", windows.stride, "dilation levels of uniform and looped")
      ->capture_default_str();
  verb.add_option("--steps", flags.plan.steps, "denoising steps")->capture_default_str();
  verb.add_option("--branches", flags.plan.branches, "guidance branches, 1 or 2")
      ->capture_default_str();
  verb.add_option("--coherence", flags.coherence, "local or causal")->capture_default_str();
  verb.add_option("--lag", flags.plan.lag, "causal: levels behind the predecessor")
      ->capture_default_str();
  verb.add_option("--resample", flags.plan.rounds, "causal: rounds at each level")
      ->capture_default_str();
  verb.add_option("--order", flags.order, "throughput or streaming")->capture_default_str();
  verb.add_option("--size", flags.size, "WxH in pixels")->capture_default_str();
  flags.plan.decode_frames = 1;
  verb.add_option("--decode-frames", flags.plan.decode_frames,
                  "frames decoded together; a full VAE takes one from 256x256 on")
      ->capture_default_str();
}

void add_machine_options(CLI::App& verb, SimulateFlags& flags) {
  verb.add_option("--layout", flags.layouts, "GROUPSxSTAGES, as 4x2, or 4x2f folded; several")
      ->capture_default_str();
  verb.add_option("--forward-ms", flags.forward_ms, "one forward without --model")
      ->capture_default_str();
  verb.add_option("--decode-ms", flags.decode_ms, "decoding one frame")->capture_default_str();
  verb.add_option("--model", flags.model, "model folder to count and cut into stages");
  verb.add_option("--precision", flags.precision, "of activations, with --model")
      ->capture_default_str();
  verb.add_option("--tflops", flags.tflops, "of one rank, with --model")->capture_default_str();
  verb.add_option("--memory-gb-s", flags.memory_gb_s, "memory bandwidth, with --model")
      ->capture_default_str();
  verb.add_option("--memory-gib", flags.memory_gib, "per rank, with --model; 0 = no limit")
      ->capture_default_str();
  verb.add_option("--tolerance", flags.tolerance, "a stage this much slower for fewer bytes")
      ->capture_default_str();
  verb.add_option("--link", flags.link, "none, nvlink, infiniband or ethernet25")
      ->capture_default_str();
  verb.add_option("--ranks-per-host", flags.ranks_per_host, "with --link: joined by NVLink")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  verb.add_option("--speed-spread", flags.speed_spread, "rank speeds lie in 1 +- this")
      ->capture_default_str();
  verb.add_option("--jitter", flags.simulation.task_jitter, "task times lie in 1 +- this")
      ->capture_default_str();
  verb.add_option("--overhead-us", flags.overhead_us, "from task end to next start")
      ->capture_default_str();
  verb.add_option("--seed", flags.simulation.seed, "of jitter and speeds")->capture_default_str();
  verb.add_option("--failures", flags.simulation.failures_s, "moments (s) the gang is lost at");
  verb.add_option("--restart-s", flags.simulation.restart_s, "until it computes again")
      ->capture_default_str();
}

}  // namespace

void add_simulate(CLI::App& app, Command& command) {
  auto* verb = app.add_subcommand("simulate",
                                  "predict time, first frames, traffic and memory of any layout");
  const auto flags = std::make_shared<SimulateFlags>();
  add_video_options(*verb, *flags);
  add_machine_options(*verb, *flags);
  verb->add_flag("--explain", flags->explain, "say why the plan is as it is");
  verb->add_flag("--no-output", flags->no_output,
                 "without moving decoded frames to rank 0, which its link may not keep up with");
  verb->add_flag("--json", flags->json, "print JSON");
  verb->callback([flags, &command] { command.run = [flags] { return run(*flags); }; });
}

}  // namespace seamwright::cli
