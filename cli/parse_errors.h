// What the parser finds wrong, in words: which flag, what was given, what it takes.
// Threads: before and during parsing, on one thread.
#pragma once

#include <CLI/CLI.hpp>

namespace seamwright::cli {

// Makes `app` and its verbs refuse numbers that are none or do not fit, which the parser would cut
// to the largest one, and gives its messages the program's form. Call when all flags are there.
void explain_parse_errors(CLI::App& app);

}  // namespace seamwright::cli
