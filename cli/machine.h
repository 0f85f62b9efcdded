// What this machine has that Seamwright can use, and what is missing.
// Threads: reads /proc and runs short child processes; main thread only.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace seamwright::cli {

enum class Need {
  kRequired,  // nothing works without it
  kFeature,   // some feature needs it
  kSpeed,     // only makes things faster
};

struct Check {
  std::string name;
  bool ok = false;
  Need need = Need::kFeature;
  std::string found;   // what there is, in words
  std::string advice;  // how to get it; empty when ok
};

struct Machine {
  std::vector<Check> checks;
  nlohmann::json facts;  // the same and more, for programs
  bool usable() const;   // every required check holds
};

// `output_folder` is where videos would go: its free space is reported.
Machine inspect_machine(const std::string& output_folder);

// The words of /proc/cpuinfo's flags that matter here, in a fixed order.
std::vector<std::string> vector_extensions(const std::string& cpuinfo);

}  // namespace seamwright::cli
