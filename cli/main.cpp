// The seamwright program: parses the command line, runs one verb, turns errors into exit codes.
#include <fmt/ranges.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/quoted.h"
#include "base/version.h"
#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "cli/parse_errors.h"

namespace {

// The OpenMP runtime's threads spin while they wait, which is ruinous where cores are shared with
// other ranks or programs. It reads its settings before main, so they are set by starting again.
void limit_spinning(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  setenv("GOMP_SPINCOUNT", "2000", 1);
  execv("/proc/self/exe", argv);
  // Could not start again: go on as it is.
}

// A verb that does not exist is what is wrong; that "a subcommand is required" is not.
void check_verb(const CLI::App& app, const std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments.front().starts_with("-")) return;
  std::vector<std::string> verbs;
  for (const auto* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (verb->get_name() == arguments.front()) return;
    if (!verb->get_group().empty()) verbs.push_back(verb->get_name());  // else not for people
  }
  seamwright::fail(seamwright::ErrorCode::kInvalidArgument, "there is no verb {}; there are: {}",
                   seamwright::in_quotes(arguments.front()), fmt::join(verbs, " "));
}

}  // namespace

int main(int argc, char** argv) {
  using namespace seamwright;
  limit_spinning(argv);
  CLI::App app{"Seamwright makes long videos with short-clip video diffusion models."};
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("seamwright ") + kVersion);
  app.footer(
      "Data goes to standard output, progress to standard error.\n"
      "Exit codes: 0 done, 2 bad request, 3 not found, 4 not supported, 5 damaged file,\n"
      "6 reading or writing failed, 7 out of memory or device, 8 peer or child lost,\n"
      "130 stopped on request, 70 internal fault.");
  cli::Command command;
  command.arguments.assign(argv + 1, argv + argc);
  try {
    cli::add_generate(app, command);
    cli::add_worker(app, command);
    cli::add_serve(app, command);
    cli::add_models(app, command);
    cli::add_doctor(app, command);
    cli::add_sheet(app, command);
    cli::add_simulate(app, command);
    cli::add_submit(app, command);
    cli::add_client_verbs(app, command);
    cli::add_bench(app, command);
    cli::explain_parse_errors(app);
    check_verb(app, command.arguments);
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      return app.exit(error) == 0 ? 0 : 2;
    }
    return command.run();
  } catch (const Error& error) {
    fmt::print(stderr, "seamwright: {}\n", error.what());
    if (error.code() == ErrorCode::kInternal) {
      fmt::print(stderr, "seamwright: this is a fault of ours ({}:{}); please report it\n",
                 error.where().file_name(), error.where().line());
    }
    return cli::exit_code(error.code());
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "seamwright: out of memory; try a smaller size or window\n");
    return cli::exit_code(ErrorCode::kResource);
  } catch (const std::exception& error) {
    fmt::print(stderr, "seamwright: {}\n", error.what());
    return cli::exit_code(ErrorCode::kInternal);
  }
}
