// `seamwright worker`: one rank of a gang, started by mpirun or srun.
#include <fmt/core.h>
#include <sys/prctl.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "cli/progress.h"
#include "comm/mpi/mpi_fabric.h"
#include "worker/gang_job.h"

namespace seamwright::cli {
namespace {

struct Flags {
  std::string job;
  bool quiet = false, json = false;
};

// The gang is over. A rank that is inside a long task, or hangs, must not outlive it.
void end_soon(int rank, const std::string& reason) {
  std::this_thread::sleep_for(std::chrono::seconds(5));
  fmt::print(stderr, "seamwright: rank {} ends in the middle of a task: {}\n", rank, reason);
  std::fflush(nullptr);
  std::_Exit(exit_code(ErrorCode::kUnavailable));
}

int run(const Flags& flags) {
  require(comm::launched_by_mpi(),
          "a worker is a rank of a gang: it is started by mpirun or srun, through 'seamwright "
          "generate --window-parallel-size N'");
  const auto options = worker::parse_gang_job(flags.job);
  // A rank whose launcher is gone has nobody left to report to.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const auto fabric = comm::connect_mpi();
  fabric->on_abort([rank = fabric->rank()](const Error& error) {
    std::thread(end_soon, rank, std::string(error.what())).detach();
  });
  ProgressPrinter printer(!flags.quiet && fabric->rank() == 0);
  try {
    require(fabric->size() == options.layout.ranks(),
            "layout {} needs {} ranks, but {} were started", scheduling::to_string(options.layout),
            options.layout.ranks(), fabric->size());
    const auto result =
        worker::generate_as_rank(options,
                                 {.note = [&](const std::string& line) { printer.note(line); },
                                  .progress = [&](const worker::Progress& p) { printer.update(p); },
                                  .lost = {}},  // end_soon comes first
                                 fabric->rank(), fabric.get());
    fabric->close();
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
    fabric->abort(fmt::format("rank {}: {}", fabric->rank(), error.what()));
    throw;
  }
}

}  // namespace

void add_worker(CLI::App& app, Command& command) {
  auto* verb = app.add_subcommand("worker", "one rank of a gang; started by mpirun, never by hand");
  const auto flags = std::make_shared<Flags>();
  verb->add_option("--job", flags->job, "the gang's job as JSON")->required();
  verb->add_flag("--quiet", flags->quiet, "no progress on standard error");
  verb->add_flag("--json", flags->json, "print the report as JSON");
  verb->callback([flags, &command] { command.run = [flags] { return run(*flags); }; });
}

}  // namespace seamwright::cli
