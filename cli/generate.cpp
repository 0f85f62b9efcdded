// `seamwright generate`: one video on this machine.
#include "worker/generate.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <thread>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "cli/launcher.h"
#include "cli/model_path.h"
#include "cli/progress.h"
#include "cli/request_options.h"
#include "cli/supervisor.h"
#include "worker/gang_job.h"
#include "worker/given_frames.h"

namespace seamwright::cli {
namespace {

std::atomic<bool> stop_requested{false};

// A second Ctrl-C ends the process the hard way.
extern "C" void on_stop_signal(int signal) {
  stop_requested.store(true);
  std::signal(signal, SIG_DFL);
}

struct GenerateFlags {
  worker::GenerateOptions options;
  std::string size, out = "video.mp4", report, latents_in, noise_in, latents_out, resume;
  int window_parallel = 1, pipeline_parallel = 1;
  bool folded = false;
  LaunchOptions launch;
  int restarts = 0;
  std::vector<std::string> arguments;   // of this process, to start it again
  bool from_file = false;               // the request began as a config file or sidecar
  const CLI::Option* frames = nullptr;  // --frames
  bool quiet = false, json = false, no_ai_mark = false, no_video = false;
  double grid_intensity = -1;  // grams of CO2e per kWh; negative: not given
};

std::optional<std::filesystem::path> path_or_none(const std::string& text) {
  return text.empty() ? std::nullopt : std::optional<std::filesystem::path>(text);
}

// A task hangs: nobody can end this process but itself.
void end_process(const Error& error) {
  fmt::print(stderr, "seamwright: {}\n", error.what());
  std::fflush(nullptr);
  std::_Exit(exit_code(error.code()));
}

std::string this_program() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

int run_supervised(const GenerateFlags& flags, const std::vector<std::string>& command,
                   bool read_errors) {
  SuperviseOptions options;
  options.restarts = flags.restarts;
  options.kept = flags.options.resume;
  options.read_errors = read_errors;
  return supervise(command, options);
}

// Hands the job to a gang of worker processes; this process becomes their launcher, or, to start
// them again, its parent.
int start_gang(GenerateFlags& flags, const std::string& launcher) {
  auto options = flags.options;
  if (options.threads == 0 && flags.launch.hostfile.empty() && launcher == "mpirun") {
    const int cores = static_cast<int>(std::thread::hardware_concurrency());
    options.threads = std::max(1, cores / options.layout.ranks());
  }
  const auto absolute = [](const std::filesystem::path& path) {
    return path.empty() ? path : std::filesystem::absolute(path);
  };
  options.model_folder = absolute(options.model_folder);
  const auto folder_like = options.out.string().ends_with('/');
  options.out = absolute(options.out);
  if (folder_like) options.out /= "";
  options.resume = absolute(options.resume);
  std::vector<std::string> arguments = {"worker", "--job", worker::to_gang_job(options)};
  if (flags.quiet) arguments.emplace_back("--quiet");
  if (flags.json) arguments.emplace_back("--json");
  const auto command =
      launch_command(flags.launch, launcher, this_program(), arguments, geteuid() == 0);
  if (flags.restarts == 0) launch(command);
  return run_supervised(flags, command, /*read_errors=*/true);
}

// The same command as a child that does the work.
int start_again_when_lost(const GenerateFlags& flags) {
  std::vector<std::string> command = flags.arguments;
  command.insert(command.begin(), this_program());
  return run_supervised(flags, command, /*read_errors=*/false);
}

int run(GenerateFlags& flags) {
  auto& options = flags.options;
  if (!flags.size.empty()) parse_size(flags.size, options.request.width, options.request.height);
  // A request that says nothing else is as long as its input video.
  if (!flags.from_file && flags.frames->count() == 0 && !options.request.input_video.empty()) {
    options.request.frames = worker::frames_of_input(options.request);
  }
  validate(options.request);
  worker::check_given_files(options.request);
  require(!options.request.prompt.empty(), "a prompt is needed: --prompt \"what the video shows\"");
  options.model_folder = find_model(options.request.model);
  options.tokenizer_fallback = clip_tokenizer();
  options.out = flags.no_video ? "" : flags.out;
  options.report = path_or_none(flags.report);
  options.latents_out = path_or_none(flags.latents_out);
  options.resume = flags.resume;
  options.tensors = {path_or_none(flags.latents_in), path_or_none(flags.noise_in)};
  options.mark_ai_generated = !flags.no_ai_mark;
  if (flags.grid_intensity >= 0) options.grams_co2e_per_kwh = flags.grid_intensity;
  options.layout = {flags.window_parallel, flags.pipeline_parallel, flags.folded};
  options.stop = &stop_requested;
  flags.launch.ranks = options.layout.ranks();
  const auto launcher = resolve_launcher(flags.launch);
  require(flags.restarts == 0 || !options.resume.empty(),
          "--restarts needs --resume FOLDER, or every attempt would begin at the beginning");
  if (launcher != "none") return start_gang(flags, launcher);
  require(options.fabric != "nccl",
          "fabric nccl joins ranks that are processes: use --launcher mpirun or srun");
  const bool supervised = std::getenv(kSupervisedVariable) != nullptr;
  if (flags.restarts > 0 && !supervised) return start_again_when_lost(flags);
  std::signal(SIGINT, on_stop_signal);
  std::signal(SIGTERM, on_stop_signal);

  ProgressPrinter printer(!flags.quiet);
  const auto result =
      worker::generate(options, {.note = [&](const std::string& line) { printer.note(line); },
                                 .progress = [&](const worker::Progress& p) { printer.update(p); },
                                 .lost = end_process});
  printer.clear();
  if (flags.json) {
    fmt::print("{}\n", result.report.dump(2));
  } else if (!result.video.empty()) {
    fmt::print("{}\n", result.video.string());
  }
  if (!result.complete && !options.resume.empty()) {
    printer.note(
        fmt::format("stopped on request: {} of {} frames and the work on later ones are kept; "
                    "the same command goes on from there",
                    result.durable_frames, options.request.frames));
    return exit_code(ErrorCode::kCancelled);
  }
  if (!result.complete) {
    printer.note(result.frames > 0
                     ? fmt::format("stopped on request: {} of {} frames are in {}", result.frames,
                                   options.request.frames, result.video.string())
                     : std::string("stopped on request before the first frame was finished; "
                                   "nothing was written"));
    return exit_code(ErrorCode::kCancelled);
  }
  return 0;
}

}  // namespace

void add_generate(CLI::App& app, Command& command) {
  auto* verb = app.add_subcommand("generate", "make one video on this machine");
  const auto flags = std::make_shared<GenerateFlags>();
  if (!command.arguments.empty() && command.arguments.front() == "generate") {
    flags->options.request = base_request(command.arguments);
  }
  flags->arguments = command.arguments;
  flags->from_file = !(flags->options.request == JobRequest{});
  add_request_options(*verb, flags->options.request, flags->size);
  flags->frames = verb->get_option("--frames");
  verb->add_option("-o,--out", flags->out, "output: .mp4, .webm or .gif, or a folder for PNG files")
      ->capture_default_str();
  verb->add_flag("--no-video", flags->no_video, "compute, but write no video");
  verb->add_option("--threads", flags->options.threads, "CPU threads; 0 = all cores")
      ->envname("SEAMWRIGHT_THREADS")
      ->check(CLI::Range(0, 1024));
  verb->add_option(
          "--encoder-threads", flags->options.encoder_threads,
          "threads of the video's encoder, whose bytes follow from the number; 0 = two where "
          "the processor computes, else nearly all cores")
      ->envname("SEAMWRIGHT_ENCODER_THREADS")
      ->check(CLI::Range(0, 64));
  verb->add_option("--window-parallel-size", flags.get()->window_parallel,
                   "pipeline groups: how many windows are evaluated at once")
      ->envname("SEAMWRIGHT_WINDOW_PARALLEL_SIZE")
      ->check(CLI::Range(1, 4096));
  verb->add_option("--pipeline-parallel-size", flags.get()->pipeline_parallel,
                   "stages: how many ranks share one U-Net")
      ->envname("SEAMWRIGHT_PIPELINE_PARALLEL_SIZE")
      ->check(CLI::Range(1, 64));
  verb->add_flag("--folded", flags.get()->folded,
                 "each stage holds a run of the down path and its mirror in the up path");
  verb->add_option("--launcher", flags.get()->launch.launcher,
                   "starts the ranks: auto, mpirun, srun, none (threads of this process)")
      ->envname("SEAMWRIGHT_LAUNCHER")
      ->capture_default_str();
  verb->add_option("--fabric", flags->options.fabric, kFabricHelp)
      ->envname("SEAMWRIGHT_FABRIC")
      ->check(CLI::IsMember({"auto", "nccl", "mpi"}))
      ->capture_default_str();
  verb->add_option("--costs", flags->options.costs, kCostsHelp)
      ->envname("SEAMWRIGHT_COSTS")
      ->check(CLI::IsMember({"auto", "measured", "counted"}))
      ->capture_default_str();
  verb->add_option("--hostfile", flags.get()->launch.hostfile, "hosts for mpirun, one a line")
      ->envname("SEAMWRIGHT_HOSTFILE");
  verb->add_option("--restarts", flags->restarts,
                   "with --resume: how often a lost run is started again")
      ->envname("SEAMWRIGHT_RESTARTS")
      ->check(CLI::Range(0, 1000));
  verb->add_option("--stall-limit", flags->options.stall_limit_s,
                   "seconds: a task that takes longer, and far longer than usual, counts as lost; "
                   "0 = the default (60)")
      ->envname("SEAMWRIGHT_STALL_LIMIT")
      ->check(CLI::Range(0.0, 1e6));
  verb->add_option("--resume", flags->resume,
                   "a folder that keeps finished work: a run that was interrupted goes on from it")
      ->envname("SEAMWRIGHT_RESUME");
  verb->add_option(
          "--checkpoint-steps", flags->options.checkpoint_steps,
          "denoising steps between checkpoints; 0 = finished frames only, -1 = as few as cost "
          "less than 5 % of the time")
      ->envname("SEAMWRIGHT_CHECKPOINT_STEPS")
      ->capture_default_str()
      ->check(CLI::Range(-1, 1000));
  verb->add_option("--segment-frames", flags->options.segment_frames,
                   "with --resume: frames of each part of the video that is finished for good")
      ->envname("SEAMWRIGHT_SEGMENT_FRAMES")
      ->capture_default_str()
      ->check(CLI::Range(1, 100'000));
  verb->add_option("--failpoint", flags->options.failpoint, "faults for tests")->group("");
  verb->add_option("--report", flags->report, "write a JSON report: request, hash, timings, seams");
  verb->add_option("--latents-in", flags->latents_in, "safetensors with the initial noise");
  verb->add_option("--noise-in", flags->noise_in, "safetensors with noise.K for each step");
  verb->add_option("--latents-out", flags->latents_out, "write the final latents as safetensors");
  verb->add_option("--grid-intensity", flags->grid_intensity,
                   "grams of CO2e per kWh here; the report then gives grams beside joules")
      ->check(CLI::NonNegativeNumber)
      ->envname("SEAMWRIGHT_GRID_INTENSITY");
  verb->add_flag("--no-ai-mark", flags->no_ai_mark, "leave out the AI-content marking");
  verb->add_flag("--quiet", flags->quiet, "no progress on standard error");
  verb->add_flag("--json", flags->json, "print the report as JSON instead of the file's name");
  verb->callback([flags, &command] { command.run = [flags] { return run(*flags); }; });
}

}  // namespace seamwright::cli
