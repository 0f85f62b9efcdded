// The verbs of the program. Each adds itself to the command line; main runs the one chosen.
// Threads: main thread only.
#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <functional>
#include <string>
#include <vector>

namespace seamwright::cli {

// A verb sets `run` from its callback; main calls it after parsing and returns its exit code.
struct Command {
  std::function<int()> run;
  std::vector<std::string> arguments;  // as given, for files that are read before flags apply
};

void add_generate(CLI::App& app, Command& command);
void add_worker(CLI::App& app, Command& command);
void add_serve(CLI::App& app, Command& command);
void add_models(CLI::App& app, Command& command);
void add_doctor(CLI::App& app, Command& command);
void add_sheet(CLI::App& app, Command& command);
void add_simulate(CLI::App& app, Command& command);
void add_submit(CLI::App& app, Command& command);
// ps, show, logs, cancel, get, cluster
void add_client_verbs(CLI::App& app, Command& command);
void add_bench(CLI::App& app, Command& command);

}  // namespace seamwright::cli
