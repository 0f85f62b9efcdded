// One video made by the real program while it is killed or stopped, drawn from a seed; then held
// against the same video made undisturbed.
// Threads: one test at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace seamwright {

enum class FaultPlace {
  kTask,          // kill before a task of a rank
  kRecord,        // kill between the steps of writing a checkpoint
  kSegment,       // kill between a segment's file and its commit
  kRestart,       // kill twice: the second time while records are loaded
  kClock,         // kill at a moment of the clock, from outside
  kStop,          // SIGSTOP before a task of a rank
  kKillLauncher,  // kill mpirun, or the process that does the work, from outside
};

struct FaultCase {
  std::uint64_t seed = 0;
  FaultPlace place = FaultPlace::kTask;
  bool processes = false;  // a gang of processes under mpirun; else one process
};

std::string describe(const FaultCase& fault);

// Runs it with all its checks, as GoogleTest expectations.
void run_fault(const FaultCase& fault);

bool has_mpirun();

}  // namespace seamwright
