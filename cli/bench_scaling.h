// The verb `bench scaling`.
// Threads: main thread only.
#pragma once

#include "cli/commands.h"

namespace seamwright::cli {

void add_bench_scaling(CLI::App& bench, Command& command);

}  // namespace seamwright::cli
