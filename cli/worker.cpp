// `seamwright worker`: one rank of a gang, started by mpirun or srun; or a gang that serves a
// coordinator, for one job after another.
#include <fmt/core.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "cli/gang_command.h"
#include "cli/launcher.h"
#include "cli/model_path.h"
#include "cli/progress.h"
#include "cli/service_models.h"
#include "comm/mpi/mpi_fabric.h"
#include "worker/gang_fabric.h"
#include "worker/gang_job.h"
#include "worker/gang_runner.h"
#include "worker/scratch_folder.h"

namespace seamwright::cli {
namespace {

struct WorkerFlags {
  std::string job;
  bool quiet = false, json = false;
  std::string fabric = "auto", costs = "auto";
  // Of a gang that serves a coordinator.
  std::string coordinator, token_file, name;
  int window_parallel = 1, pipeline_parallel = 1, threads = 0, lease_ms = 9000;
  bool folded = false, die_with_parent = false;
};

// The gang is over. A rank that is inside a long task, or hangs, must not outlive it.
void end_soon(int rank, const std::string& reason) {
  std::this_thread::sleep_for(std::chrono::seconds(5));
  fmt::print(stderr, "seamwright: rank {} ends in the middle of a task: {}\n", rank, reason);
  std::fflush(nullptr);
  std::_Exit(exit_code(ErrorCode::kUnavailable));
}

std::pair<std::string, std::uint16_t> parse_address(const std::string& text) {
  const auto colon = text.rfind(':');
  int port = 0;
  if (colon != std::string::npos) port = std::atoi(text.c_str() + colon + 1);
  require(colon != std::string::npos && colon > 0 && port > 0 && port < 65536,
          "coordinator is '{}', but must be HOST:PORT", text);
  return {text.substr(0, colon), static_cast<std::uint16_t>(port)};
}

worker::GangOptions gang_options(const WorkerFlags& flags, const std::filesystem::path& scratch) {
  worker::GangOptions options;
  const auto [host, port] = parse_address(flags.coordinator);
  require(!flags.token_file.empty(), "a gang needs the coordinator's token: --token-file FILE");
  options.link.host = host;
  options.link.port = port;
  options.link.token = read_token(flags.token_file);
  options.link.lease = std::chrono::milliseconds(flags.lease_ms);
  options.models = model_names();
  options.find_model = [](const std::string& model) { return find_model(model); };
  options.layout = {flags.window_parallel, flags.pipeline_parallel, flags.folded};
  options.threads = flags.threads;
  options.costs = flags.costs;
  char host_name[256] = {};
  ::gethostname(host_name, sizeof(host_name) - 1);
  options.name = flags.name.empty() ? fmt::format("{}-{}", host_name, ::getpid()) : flags.name;
  options.scratch = scratch;
  // Nothing of this process can be trusted to end by itself any more, so it ends at once.
  options.end_process = [scratch](const std::string& why) {
    log_error("the gang ends: {}", why);
    std::error_code ignored;
    std::filesystem::remove_all(scratch, ignored);
    ::_exit(exit_code(ErrorCode::kUnavailable));
  };
  return options;
}

// Before what joined the GPUs goes, which would only say that it was left open.
void abort_gang(const std::shared_ptr<comm::Fabric>& control, const worker::GangFabric& gang,
                const std::exception& error) {
  const auto& fabric = gang.fabric ? gang.fabric : control;
  fabric->abort(fmt::format("rank {}: {}", control->rank(), error.what()));
}

int serve_coordinator(const WorkerFlags& flags) {
  if (flags.die_with_parent) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGPIPE, SIG_IGN);
  const worker::ScratchFolder scratch(std::filesystem::temp_directory_path());
  auto options = gang_options(flags, scratch.path());
  if (!comm::launched_by_mpi()) {
    worker::run_gang(options, nullptr);
    return 0;
  }
  const std::shared_ptr<comm::Fabric> control = comm::connect_mpi();
  worker::GangFabric gang;
  try {
    require(control->size() == options.layout.ranks(),
            "layout {} needs {} ranks, but {} were started", scheduling::to_string(options.layout),
            options.layout.ranks(), control->size());
    gang = worker::connect_gang(control, {.wish = comm::parse_transport_wish(flags.fabric)});
    if (control->rank() == 0 && !gang.note.empty()) log_info("{}", gang.note);
    options.rank_on_host = gang.rank_on_host;
    options.fabric_note = gang.note;
    worker::run_gang(options, gang.fabric.get());
    gang.fabric->close();
    return 0;
  } catch (const std::exception& error) {
    abort_gang(control, gang, error);
    throw;
  }
}

int run(const WorkerFlags& flags) {
  if (!flags.coordinator.empty()) return serve_coordinator(flags);
  require(!flags.job.empty(),
          "a worker needs a coordinator to serve (--coordinator HOST:PORT --token-file FILE), or "
          "is started by mpirun through 'seamwright generate --window-parallel-size N'");
  require(comm::launched_by_mpi(),
          "a worker is a rank of a gang: it is started by mpirun or srun, through 'seamwright "
          "generate --window-parallel-size N'");
  auto options = worker::parse_gang_job(flags.job);
  // A rank whose launcher is gone has nobody left to report to.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const std::shared_ptr<comm::Fabric> fabric = comm::connect_mpi();
  fabric->on_abort([rank = fabric->rank()](const Error& error) {
    std::thread(end_soon, rank, std::string(error.what())).detach();
  });
  ProgressPrinter printer(!flags.quiet && fabric->rank() == 0);
  worker::GangFabric gang;
  try {
    require(fabric->size() == options.layout.ranks(),
            "layout {} needs {} ranks, but {} were started", scheduling::to_string(options.layout),
            options.layout.ranks(), fabric->size());
    const auto& device = options.request.device;
    gang = worker::connect_gang(fabric, {.wish = comm::parse_transport_wish(options.fabric),
                                         .gpus = device == "cuda" || device == "auto"});
    options.rank_on_host = gang.rank_on_host;
    options.fabric_note = gang.note;
    const auto result =
        worker::generate_as_rank(options,
                                 {.note = [&](const std::string& line) { printer.note(line); },
                                  .progress = [&](const worker::Progress& p) { printer.update(p); },
                                  .lost = {}},  // end_soon comes first
                                 fabric->rank(), gang.fabric.get());
    gang.fabric->close();
    printer.clear();
    if (fabric->rank() != 0) return 0;
    if (flags.json) {
      fmt::print("{}\n", result.report.dump(2));
    } else if (!result.video.empty()) {
      fmt::print("{}\n", result.video.string());
    }
    return 0;
  } catch (const std::exception& error) {
    printer.clear();
    abort_gang(fabric, gang, error);
    throw;
  }
}

}  // namespace

void add_worker(CLI::App& app, Command& command) {
  auto* verb = app.add_subcommand("worker", "a gang that serves a coordinator, or a rank of one");
  const auto flags = std::make_shared<WorkerFlags>();
  verb->add_option("--coordinator", flags->coordinator, "HOST:PORT of the coordinator to serve")
      ->envname("SEAMWRIGHT_COORDINATOR");
  verb->add_option("--token-file", flags->token_file, "file with the coordinator's token")
      ->envname("SEAMWRIGHT_TOKEN_FILE");
  verb->add_option("--name", flags->name, "of this gang; host and process when not given")
      ->envname("SEAMWRIGHT_GANG_NAME");
  verb->add_option("--window-parallel-size", flags->window_parallel, "pipeline groups")
      ->envname("SEAMWRIGHT_WINDOW_PARALLEL_SIZE")
      ->check(CLI::Range(1, 4096));
  verb->add_option("--pipeline-parallel-size", flags->pipeline_parallel, "stages")
      ->envname("SEAMWRIGHT_PIPELINE_PARALLEL_SIZE")
      ->check(CLI::Range(1, 64));
  verb->add_flag("--folded", flags->folded, "stages are folded");
  verb->add_option("--threads", flags->threads, "CPU threads of a rank; 0 = all cores")
      ->envname("SEAMWRIGHT_THREADS")
      ->check(CLI::Range(0, 1024));
  verb->add_option("--lease-ms", flags->lease_ms,
                   "without a coordinator for this long the gang ends; less than its lease")
      ->check(CLI::Range(100, 3600000));
  verb->add_option("--fabric", flags->fabric, kFabricHelp)
      ->envname("SEAMWRIGHT_FABRIC")
      ->check(CLI::IsMember({"auto", "nccl", "mpi"}))
      ->capture_default_str();
  verb->add_option("--costs", flags->costs, kCostsHelp)
      ->envname("SEAMWRIGHT_COSTS")
      ->check(CLI::IsMember({"auto", "measured", "counted"}))
      ->capture_default_str();
  verb->add_flag("--die-with-parent", flags->die_with_parent,
                 "end when the process that started this one does");
  verb->add_option("--job", flags->job, "one job of a gang under mpirun, as JSON");
  verb->add_flag("--quiet", flags->quiet, "no progress on standard error");
  verb->add_flag("--json", flags->json, "print the report as JSON");
  verb->callback([flags, &command] { command.run = [flags] { return run(*flags); }; });
}

}  // namespace seamwright::cli
