// Starts a gang again when it is lost, and says which rank was lost and why.
// Threads: main thread only; installs handlers for SIGINT and SIGTERM while it runs.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace seamwright::cli {

struct SuperviseOptions {
  int restarts = 0;
  std::filesystem::path kept;  // the folder of --resume: what it holds shows whether work gets on
  bool read_errors = false;    // read the child's standard error for what a launcher says of ranks
  // A child that somebody has stopped for this long counts as lost.
  std::chrono::milliseconds stopped_limit{10'000};
};

// Runs `command` as a child until it succeeds, fails for good, or was lost more often than
// `restarts`; after each loss no process of it is left on this host. Returns the exit code.
int supervise(const std::vector<std::string>& command, const SuperviseOptions& options);

// What the lines of a launcher and its ranks say about a lost rank; the latest that names one.
class LossReader {
 public:
  void line(const std::string& text);
  // "rank 1 on node7: signal 9 (Killed)"; empty when nothing was said.
  const std::string& reason() const { return reason_; }

 private:
  std::string reason_;
  int weight_ = 0;
};

// Names of an environment variable and its value that mark every process of a gang.
inline constexpr const char* kGangVariable = "SEAMWRIGHT_GANG";
// Set for a child of a supervisor, which must not supervise again.
inline constexpr const char* kSupervisedVariable = "SEAMWRIGHT_SUPERVISED";

// Kills what is left of a gang on this host and waits until it is gone; returns how many there
// were.
int kill_marked_processes(const std::string& marker, std::chrono::milliseconds patience);

}  // namespace seamwright::cli
