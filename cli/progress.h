// Progress for people: a bar on a terminal, plain lines elsewhere, on standard error.
// Threads: one thread.
#pragma once

#include <chrono>
#include <string>

#include "worker/generate.h"

namespace seamwright::cli {

class ProgressPrinter {
 public:
  // `enabled` false prints nothing at all (--quiet).
  explicit ProgressPrinter(bool enabled);
  ~ProgressPrinter() { clear(); }

  void note(const std::string& line);
  void update(const worker::Progress& progress);
  void clear();  // ends the bar's line

 private:
  bool due(const worker::Progress& progress);

  bool enabled_, terminal_;
  bool line_open_ = false;
  bool estimate_said_ = false;
  std::chrono::steady_clock::time_point last_{};
};

// "1 h 02 min", "3 min 20 s", "8 s"
std::string duration_text(double seconds);

}  // namespace seamwright::cli
