// Processes found by a mark in their environment: the only sure way to name all that a gang
// started, launchers, ranks and encoders, whatever became of their
// parents.
// Threads: safe anywhere; reads /proc.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

namespace seamwright::coordinator {

// The environment variable that carries the mark. A gang's mark is SERVICE/GANG.
inline constexpr const char* kGangMark = "SEAMWRIGHT_GANG_MARK";

// Those whose mark is `mark` or begins with it and '/'. Processes of other users are not seen.
std::vector<pid_t> processes_marked(const std::string& mark);

// SIGKILL to all of them until none is left. Returns how many are left after `limit`.
int kill_marked(const std::string& mark, std::chrono::milliseconds limit);

}  // namespace seamwright::coordinator
