// The verbs `bench scaling` and `bench service`.
// Threads: main thread only.
#pragma once

#include "cli/commands.h"

namespace seamwright::cli {

void add_bench_scaling(CLI::App& bench, Command& command);
void add_bench_service(CLI::App& bench, Command& command);

}  // namespace seamwright::cli
