// Energy that this host's processors and GPUs used while a job ran, where the host lets it be read:
// RAPL counters for processors, NVML's for GPUs. Other work on them at the time is counted in.
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace seamwright::worker {

// One counter that only grows, but for wrapping around at `range`.
class EnergyCounter {
 public:
  virtual ~EnergyCounter() = default;
  virtual std::optional<double> joules() = 0;        // nullopt: it cannot be read any more
  virtual double range_joules() const { return 0; }  // 0: it never wraps
};
using EnergyCounters = std::vector<std::unique_ptr<EnergyCounter>>;

// Packages below a powercap folder (/sys/class/powercap); those that this user may read.
EnergyCounters rapl_counters(const std::filesystem::path& folder);
// GPUs by PCI address; none where NVML is not installed.
EnergyCounters nvml_counters(const std::vector<std::string>& pci_addresses);

class EnergyMeter {
 public:
  EnergyMeter(EnergyCounters cpu, EnergyCounters gpu);
  // Of this host's processors, and of the given GPUs.
  static EnergyMeter of_host(const std::vector<std::string>& gpu_pci_addresses);

  // "cpu_joules" and "gpu_joules" since construction, each where all its counters could be read,
  // and "grams_co2e" of both where an intensity in grams a kilowatt hour is given. Null when there
  // is nothing to say.
  nlohmann::json report(std::optional<double> grams_per_kwh);

 private:
  struct Reading {
    std::unique_ptr<EnergyCounter> counter;
    std::optional<double> start;
  };
  static std::vector<Reading> start(EnergyCounters counters);
  static std::optional<double> used(std::vector<Reading>& readings);
  std::vector<Reading> cpu_, gpu_;
};

}  // namespace seamwright::worker
