// What this process has used of the machine.
// Threads: safe anywhere.
#pragma once

#include <cstdint>

namespace seamwright::worker {

// The largest resident size so far, in bytes; 0 where the system does not say.
std::int64_t peak_memory_bytes();
// User plus system time of all threads, in seconds.
double cpu_seconds();

}  // namespace seamwright::worker
