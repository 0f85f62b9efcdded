// What the launcher tells every rank of a gang: the options of `generate` as one JSON text.
// Threads: pure functions; safe anywhere.
#pragma once

#include <string>

#include "worker/generate.h"

namespace seamwright::worker {

std::string to_gang_job(const GenerateOptions& options);
// Throws kInvalidArgument for text that no launcher of this version wrote.
GenerateOptions parse_gang_job(const std::string& text);

}  // namespace seamwright::worker
