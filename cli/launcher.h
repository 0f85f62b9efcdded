// Starts a gang of worker processes on this host or on those of a hostfile.
// Threads: replaces the process; main thread only.
#pragma once

#include <string>
#include <vector>

namespace seamwright::cli {

inline constexpr const char* kCostsHelp =
    "what the plan's costs come from: measured (a short measurement on every rank, so that slow "
    "ones "
    "get fewer windows), counted, or auto (measured where the job is long enough to gain)";
inline constexpr const char* kFabricHelp =
    "how activations travel between the GPUs of several processes: auto, nccl, or mpi (through "
    "host "
    "memory)";

struct LaunchOptions {
  std::string launcher = "auto";  // auto, mpirun, srun, none
  std::string hostfile;           // mpirun only
  int ranks = 1;
};

// What auto means here: mpirun where it is installed, else none (ranks as threads of one process).
std::string resolve_launcher(const LaunchOptions& options);

// The command line that starts `ranks` copies of `program arguments...`.
std::vector<std::string> launch_command(const LaunchOptions& options, const std::string& launcher,
                                        const std::string& program,
                                        const std::vector<std::string>& arguments, bool as_root);

// Replaces this process by the launcher. Throws kNotFound when it cannot be started.
[[noreturn]] void launch(const std::vector<std::string>& command);

}  // namespace seamwright::cli
