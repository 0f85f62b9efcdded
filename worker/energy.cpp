#include "worker/energy.h"

#include <dlfcn.h>

#include <algorithm>
#include <fstream>

namespace seamwright::worker {
namespace {

namespace fs = std::filesystem;

std::optional<double> number_in(const fs::path& file) {
  std::ifstream in(file);
  double value = 0;
  if (!(in >> value)) return std::nullopt;
  return value;
}

class RaplCounter final : public EnergyCounter {
 public:
  explicit RaplCounter(fs::path folder) : folder_(std::move(folder)) {}
  std::optional<double> joules() override {
    const auto microjoules = number_in(folder_ / "energy_uj");
    return microjoules ? std::optional(*microjoules * 1e-6) : std::nullopt;
  }
  double range_joules() const override {
    return number_in(folder_ / "max_energy_range_uj").value_or(0) * 1e-6;
  }

 private:
  fs::path folder_;
};

// NVML as far as it is needed, found at run time: the driver installs it, not the toolkit.
class Nvml {
 public:
  static std::shared_ptr<Nvml> open() {
    void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return nullptr;
    auto nvml = std::shared_ptr<Nvml>(new Nvml(library));
    return nvml->ready_ ? nvml : nullptr;
  }
  ~Nvml() {
    if (ready_) shutdown_();
    dlclose(library_);
  }
  void* device(const std::string& pci_address) const {
    void* handle = nullptr;
    return by_address_(pci_address.c_str(), &handle) == 0 ? handle : nullptr;
  }
  std::optional<double> joules(void* device) const {
    unsigned long long millijoules = 0;
    if (energy_(device, &millijoules) != 0) return std::nullopt;
    return static_cast<double>(millijoules) * 1e-3;
  }

 private:
  explicit Nvml(void* library) : library_(library) {
    const bool found = get("nvmlInit_v2", init_) && get("nvmlShutdown", shutdown_) &&
                       get("nvmlDeviceGetHandleByPciBusId_v2", by_address_) &&
                       get("nvmlDeviceGetTotalEnergyConsumption", energy_);
    ready_ = found && init_() == 0;
  }
  template <class Function>
  bool get(const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library_, name));
    return function != nullptr;
  }

  void* library_;
  bool ready_ = false;
  int (*init_)() = nullptr;
  int (*shutdown_)() = nullptr;
  int (*by_address_)(const char*, void**) = nullptr;
  int (*energy_)(void*, unsigned long long*) = nullptr;
};

class NvmlCounter final : public EnergyCounter {
 public:
  NvmlCounter(std::shared_ptr<Nvml> nvml, void* device) : nvml_(std::move(nvml)), device_(device) {}
  std::optional<double> joules() override { return nvml_->joules(device_); }

 private:
  std::shared_ptr<Nvml> nvml_;
  void* device_;
};

}  // namespace

EnergyCounters rapl_counters(const fs::path& folder) {
  std::vector<fs::path> packages;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    // "intel-rapl:0" is a package; "intel-rapl:0:0" is a part of one, and counted in it.
    const std::string name = entry.path().filename().string();
    if (name.starts_with("intel-rapl:") && std::ranges::count(name, ':') == 1) {
      packages.push_back(entry.path());
    }
  }
  std::ranges::sort(packages);
  EnergyCounters counters;
  for (const auto& package : packages) {
    auto counter = std::make_unique<RaplCounter>(package);
    if (counter->joules()) counters.push_back(std::move(counter));
  }
  return counters;
}

EnergyCounters nvml_counters(const std::vector<std::string>& pci_addresses) {
  EnergyCounters counters;
  if (pci_addresses.empty()) return counters;
  const auto nvml = Nvml::open();
  if (!nvml) return counters;
  for (const auto& address : pci_addresses) {
    if (void* device = nvml->device(address)) {
      counters.push_back(std::make_unique<NvmlCounter>(nvml, device));
    }
  }
  return counters;
}

EnergyMeter::EnergyMeter(EnergyCounters cpu, EnergyCounters gpu)
    : cpu_(start(std::move(cpu))), gpu_(start(std::move(gpu))) {}

EnergyMeter EnergyMeter::of_host(const std::vector<std::string>& gpu_pci_addresses) {
  return {rapl_counters("/sys/class/powercap"), nvml_counters(gpu_pci_addresses)};
}

std::vector<EnergyMeter::Reading> EnergyMeter::start(EnergyCounters counters) {
  std::vector<Reading> readings;
  for (auto& counter : counters) {
    const auto now = counter->joules();
    readings.push_back({std::move(counter), now});
  }
  return readings;
}

std::optional<double> EnergyMeter::used(std::vector<Reading>& readings) {
  if (readings.empty()) return std::nullopt;
  double sum = 0;
  for (auto& reading : readings) {
    const auto now = reading.counter->joules();
    if (!now || !reading.start) return std::nullopt;
    const double difference = *now - *reading.start;
    sum += difference < 0 ? difference + reading.counter->range_joules() : difference;
  }
  return sum;
}

nlohmann::json EnergyMeter::report(std::optional<double> grams_per_kwh) {
  nlohmann::json energy;
  const auto cpu = used(cpu_), gpu = used(gpu_);
  if (cpu) energy["cpu_joules"] = *cpu;
  if (gpu) energy["gpu_joules"] = *gpu;
  if (grams_per_kwh && (cpu || gpu)) {
    constexpr double kJoulesPerKwh = 3.6e6;
    energy["grams_co2e"] = (cpu.value_or(0) + gpu.value_or(0)) / kJoulesPerKwh * *grams_per_kwh;
  }
  return energy;
}

}  // namespace seamwright::worker
