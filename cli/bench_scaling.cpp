// `seamwright bench scaling`: how layouts scale, with real compute or with forwards that only take
// time; `bench scaling-rank` is a rank of its gangs.
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>

#include "base/error.h"
#include "bench/scaling.h"
#include "cli/bench_verbs.h"
#include "cli/launcher.h"
#include "cli/model_path.h"
#include "cli/request_options.h"
#include "comm/mpi/mpi_fabric.h"
#include "worker/generate.h"

namespace seamwright::cli {
namespace {

using Json = nlohmann::json;

struct ScalingFlags {
  std::vector<int> ranks = {1, 2, 4};
  int stages = 1;
  bool folded = false, barrier = false;
  double emulate_ms = -1;
  bench::ScalingCase run;
  std::string order = "throughput", model, prompt = "a red circle moving in circles";
  std::string precision = "fp32", size, json, plot;
  LaunchOptions launch;
};

// One JSON line that rank 0 prints.
Json run_gang(const ScalingFlags& flags, const bench::ScalingCase& run) {
  LaunchOptions launch = flags.launch;
  launch.ranks = run.layout.ranks();
  const auto program = std::filesystem::read_symlink("/proc/self/exe").string();
  const auto words =
      launch_command(launch, "mpirun", program,
                     {"bench", "scaling-rank", "--case", to_json(run).dump()}, geteuid() == 0);
  std::string command;
  for (const auto& word : words) command += "'" + word + "' ";  // none holds a quote
  std::FILE* pipe = popen(command.c_str(), "r");
  ensure(pipe != nullptr, "cannot start {}", words.front());
  std::string text;
  std::array<char, 4096> part{};
  while (const std::size_t got = std::fread(part.data(), 1, part.size(), pipe)) {
    text.append(part.data(), got);
  }
  const int status = pclose(pipe);
  if (status != 0) {
    fail(ErrorCode::kUnavailable, "a gang of {} ranks ended with status {}", launch.ranks,
         WIFEXITED(status) ? WEXITSTATUS(status) : status);
  }
  return Json::parse(text);
}

// What one rank alone makes of its share of the windows, in this very minute: its sleeps end late,
// too.
double efficiency_of_one_rank(bench::ScalingCase run) {
  run.layout = {};
  run.spans = run.measured = false;
  run.rank_speeds.clear();
  return bench::run_scaling_loopback(run).at("efficiency").get<double>();
}

Json emulated(const ScalingFlags& flags, bench::ScalingCase run) {
  run.forward_ms = flags.emulate_ms;
  const bool gang = flags.launch.launcher == "mpirun" && run.layout.ranks() > 1;
  Json result = gang ? run_gang(flags, run) : bench::run_scaling_loopback(run);
  result["fabric"] = gang ? "mpi" : "loopback";
  if (flags.barrier && run.layout.stages == 1) {
    const double seconds = bench::run_with_barrier(run);
    result["barrier_seconds"] = seconds;
    result["barrier_efficiency"] =
        result.at("efficiency").get<double>() * result.at("seconds").get<double>() / seconds;
  }
  if (run.forward_ms > 0) {
    const double alone = efficiency_of_one_rank(run);
    result["one_rank_efficiency"] = alone;
    result["scaling_efficiency"] = result.at("efficiency").get<double>() / alone;
  }
  // The same request on one rank, as fast as the engine can: the hash every layout must have.
  bench::ScalingCase alone = run;
  alone.windows_per_group *= run.layout.groups;
  alone.layout = {};
  alone.forward_ms = 0;
  alone.measured = false;
  result["same_as_one_rank"] = bench::run_scaling_loopback(alone).at("hash") == result.at("hash");
  return result;
}

Json real(const ScalingFlags& flags, const bench::ScalingCase& run, double& one_rank_seconds) {
  worker::GenerateOptions options;
  auto& request = options.request;
  request.model = flags.model;
  request.prompt = flags.prompt;
  request.precision = flags.precision;
  if (!flags.size.empty()) parse_size(flags.size, request.width, request.height);
  request.window = 16;
  request.overlap = 4;
  request.frames = 16 + (run.windows_per_group * run.layout.groups - 1) * 12;
  request.steps = run.steps;
  request.guidance = run.branches == 2 ? 4 : 1;
  request.seed = run.seed;
  request.order = flags.order;
  options.model_folder = find_model(flags.model);
  options.layout = run.layout;
  options.threads = 1;
  const auto report = worker::generate(options, {}).report;
  const double seconds = report.at("seconds").at("denoise").get<double>() +
                         report.at("seconds").at("decode").get<double>();
  const double per_window =
      seconds * run.layout.ranks() / (run.windows_per_group * run.layout.groups);
  if (one_rank_seconds == 0) one_rank_seconds = per_window;
  return {{"emulated", false},
          {"case", to_json(run)},
          {"ranks", run.layout.ranks()},
          {"frames", request.frames},
          {"seconds", seconds},
          {"frames_per_second", static_cast<double>(request.frames) / seconds},
          {"efficiency", one_rank_seconds / per_window},
          {"bytes_moved", report.at("bytes_moved")},
          {"costs", report.at("costs")},
          {"per_rank", report.at("ranks")},
          {"latents_sha256", report.at("latents_sha256")}};
}

void print_case(const Json& r) {
  fmt::print("{:>6} {:>8} {:>9.3f} {:>9.2f} {:>7.3f}", r.at("ranks").get<int>(),
             r.at("case").at("layout").get<std::string>(), r.at("seconds").get<double>(),
             r.at("frames_per_second").get<double>(), r.at("efficiency").get<double>());
  if (r.at("emulated").get<bool>()) {
    fmt::print(" {:>7.3f} {:>8.3f} {:>9.3f} {:>9.3f} {:>9.0f} {:>8.1f} {:>6} {:>6}",
               r.value("scaling_efficiency", 0.0), r.at("simulated_efficiency").get<double>(),
               r.at("first_frames_s").get<double>(), r.at("simulated_first_frames_s").get<double>(),
               r.at("bytes_per_boundary_and_step").get<double>(),
               r.at("runtime_cost_us").get<double>(), r.at("within_memory_bound").get<bool>(),
               r.at("same_as_one_rank").get<bool>());
    if (r.contains("barrier_efficiency")) {
      fmt::print(" {:>8.3f}", r.at("barrier_efficiency").get<double>());
    }
  }
  fmt::print("\n");
  std::fflush(stdout);
}

// Efficiency against ranks, drawn by gnuplot.
void draw(const std::string& file, const Json& results, bool is_emulated) {
  std::FILE* plot = popen("gnuplot", "w");
  ensure(plot != nullptr, "cannot start gnuplot");
  std::string script = fmt::format(
      "set terminal pngcairo size 800,480\nset output \"{}\"\nset xlabel \"ranks\"\n"
      "set ylabel \"efficiency\"\nset yrange [0:1.05]\nset logscale x 2\nset grid\nset key bottom "
      "left\nset title \"seamwright bench scaling{}\"\n$d << EOD\n",
      file, is_emulated ? " (emulated compute)" : "");
  for (const auto& r : results) {
    script += fmt::format("{} {} {}\n", r.at("ranks").get<int>(), r.at("efficiency").get<double>(),
                          is_emulated ? r.at("simulated_efficiency").get<double>() : 0.0);
  }
  script += "EOD\nplot $d using 1:2 with linespoints title \"measured\"";
  if (is_emulated) script += ", $d using 1:3 with lines dashtype 2 title \"simulated\"";
  script += "\n";
  std::fwrite(script.data(), 1, script.size(), plot);
  if (pclose(plot) != 0) {
    fail(ErrorCode::kNotFound,
         "gnuplot did not draw {}: install it (apt-get install gnuplot-nox), or leave out --plot",
         file);
  }
}

int run(const ScalingFlags& flags) {
  const bool is_emulated = flags.emulate_ms >= 0;
  Json results = Json::array();
  double one_rank_seconds = 0;
  fmt::print("{:>6} {:>8} {:>9} {:>9} {:>7}", "ranks", "layout", "seconds", "frames/s", "effic.");
  if (is_emulated) {
    fmt::print(" {:>7} {:>8} {:>9} {:>9} {:>9} {:>8} {:>6} {:>6}{}   emulated compute", "scaling",
               "simul.", "1st frame", "its plan", "B/bnd/stp", "us/task", "memory", "1 hash",
               flags.barrier ? "  barrier" : "");
  }
  fmt::print("\n");
  bool sound = true;
  for (const int ranks : flags.ranks) {
    require(ranks >= 1 && ranks % flags.stages == 0,
            "{} ranks cannot be divided into groups of {} stages", ranks, flags.stages);
    bench::ScalingCase one = flags.run;
    one.layout = {ranks / flags.stages, flags.stages, flags.folded};
    one.order = scheduling::parse_order(flags.order);
    results.push_back(is_emulated ? emulated(flags, one) : real(flags, one, one_rank_seconds));
    print_case(results.back());
    sound = sound && (!is_emulated || (results.back().at("same_as_one_rank").get<bool>() &&
                                       results.back().at("within_memory_bound").get<bool>()));
  }
  if (!flags.json.empty()) {
    std::ofstream file(flags.json);
    file << results.dump(1) << '\n';
    require(static_cast<bool>(file.flush()), "cannot write {}", flags.json);
  }
  if (!flags.plot.empty()) draw(flags.plot, results, is_emulated);
  if (!sound)
    fmt::print(stderr, "FAILED: a layout gave another hash or exceeded its memory bound\n");
  return sound ? 0 : 1;
}

int run_rank(const std::string& text) {
  const auto one = bench::scaling_case_from_json(Json::parse(text, nullptr, false));
  const auto fabric = comm::connect_mpi();
  const Json result = bench::run_scaling_rank(one, fabric->rank(), fabric.get());
  const int rank = fabric->rank();
  fabric->close();
  if (rank == 0) std::cout << result.dump() << std::endl;
  return 0;
}

}  // namespace

void add_bench_scaling(CLI::App& bench, Command& command) {
  auto* verb = bench.add_subcommand("scaling", "how layouts scale on this machine");
  const auto flags = std::make_shared<ScalingFlags>();
  verb->add_option("--ranks", flags->ranks, "how many ranks, one run each: 1,2,4")
      ->delimiter(',')
      ->capture_default_str();
  verb->add_option("--stages", flags->stages, "stages of a pipeline group")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  verb->add_flag("--folded", flags->folded, "stages hold a run of the down path and its mirror");
  verb->add_option("--windows-per-group", flags->run.windows_per_group,
                   "windows of 16 frames, 4 of them shared")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  verb->add_option("--steps", flags->run.steps, "denoising steps")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  verb->add_option("--branches", flags->run.branches, "2 with guidance")
      ->check(CLI::Range(1, 2))
      ->capture_default_str();
  verb->add_option("--order", flags->order, "throughput or streaming")->capture_default_str();
  verb->add_option("--seed", flags->run.seed, "of noise and jitter")->capture_default_str();
  verb->add_option("--emulate-compute", flags->emulate_ms,
                   "a forward takes so many milliseconds without computing; 0: none")
      ->check(CLI::Range(0.0, 60000.0));
  verb->add_option("--jitter", flags->run.jitter, "emulated: 0.2 = times vary by 20 %, seeded")
      ->check(CLI::Range(0.0, 0.9))
      ->capture_default_str();
  verb->add_option("--rank-speeds", flags->run.rank_speeds,
                   "emulated: 1,0.5 = the second rank takes twice as long; those not named have 1")
      ->delimiter(',')
      ->check(CLI::Range(0.01, 100.0));
  verb->add_flag(
      "--measure", flags->run.measured,
      "emulated: plan with measured speeds, as a worker does before a long job; else the "
      "planner takes all ranks for equal");
  verb->add_flag("--barrier", flags->barrier,
                 "emulated: also run the same windows with a barrier after each step");
  verb->add_option("--launcher", flags->launch.launcher,
                   "emulated: mpirun (processes) or none (threads of this process)")
      ->check(CLI::IsMember({"mpirun", "none", "auto"}))
      ->capture_default_str();
  verb->add_option("--model", flags->model, "real compute: the model; default: the demo model");
  verb->add_option("--precision", flags->precision, "real compute: fp32 or bf16")
      ->capture_default_str();
  verb->add_option("--size", flags->size, "real compute: WxH in pixels; default: the model's own");
  verb->add_option("--json", flags->json, "write all numbers to this file");
  verb->add_flag("--spans", flags->run.spans,
                 "emulated: also write when every task ran, per rank: [kind, window, step, chunk, "
                 "begin, end] in microseconds");
  verb->add_option("--plot", flags->plot, "draw efficiency against ranks as PNG (needs gnuplot)");
  verb->callback([flags, &command] { command.run = [flags] { return run(*flags); }; });

  auto* rank = bench.add_subcommand("scaling-rank", "one rank of `bench scaling`")->group("");
  const auto text = std::make_shared<std::string>();
  rank->add_option("--case", *text, "the case as JSON")->required();
  rank->callback([text, &command] { command.run = [text] { return run_rank(*text); }; });
}

}  // namespace seamwright::cli
