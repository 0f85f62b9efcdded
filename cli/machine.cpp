#include "cli/machine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>
#include <thread>

#include "base/error.h"
#include "base/version.h"
#include "cli/model_path.h"
#include "comm/mpi/mpi_fabric.h"
#include "comm/nccl/nccl_fabric.h"
#include "comm/transport.h"
#include "media/child_process.h"
#include "media/ffmpeg_probe.h"
#include "model/cuda/cuda_backend.h"

namespace seamwright::cli {
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
constexpr std::chrono::milliseconds kChildLimit{15'000};

std::string slurp(const char* path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The value after "key<spaces>: " in a /proc file.
std::string proc_value(const std::string& text, std::string_view key) {
  const std::size_t at = text.find(key);
  if (at == std::string::npos) return {};
  const std::size_t colon = text.find(':', at);
  const std::size_t end = text.find('\n', at);
  if (colon == std::string::npos || colon > end) return {};
  const std::size_t start = text.find_first_not_of(" \t", colon + 1);
  return start < end ? text.substr(start, end - start) : std::string();
}

std::int64_t usable_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return std::thread::hardware_concurrency();
}

// First line of a program's output, or "" when it is absent or fails.
std::string first_line_of(std::vector<std::string> argv) {
  media::ChildSpec spec;
  spec.argv = std::move(argv);
  try {
    const media::ChildResult result = media::run_child(spec, kChildLimit);
    return result.exit.ok() ? result.output.substr(0, result.output.find('\n')) : std::string();
  } catch (const Error&) {
    return {};
  }
}

void check_cpu(Machine& machine) {
  const std::string cpuinfo = slurp("/proc/cpuinfo");
  const std::vector<std::string> isa = vector_extensions(cpuinfo);
  const std::string model = proc_value(cpuinfo, "model name");
  const std::int64_t threads = usable_threads();
  machine.facts["cpu"] = {{"model", model}, {"threads", threads}, {"extensions", isa}};
  const auto has = [&isa](const char* name) {
    return std::find(isa.begin(), isa.end(), name) != isa.end();
  };
  machine.checks.push_back({"processor", true, Need::kRequired,
                            fmt::format("{}, {} usable threads", model, threads), ""});
  machine.checks.push_back({"vector units", has("avx2") && has("fma"), Need::kSpeed,
                            isa.empty() ? "none known" : fmt::format("{}", fmt::join(isa, " ")),
                            "without AVX2 and FMA everything runs, but slowly"});
  const bool bf16 = has("avx512_bf16") || has("amx_bf16");
  machine.checks.push_back({"bf16 arithmetic", bf16, Need::kSpeed, bf16 ? "in hardware" : "no",
                            "--precision fp32 is the faster choice on this processor"});
}

void check_memory_and_disk(Machine& machine, const std::string& folder) {
  const std::string meminfo = slurp("/proc/meminfo");
  const double total = std::strtod(proc_value(meminfo, "MemTotal").c_str(), nullptr) * 1024;
  const double free = std::strtod(proc_value(meminfo, "MemAvailable").c_str(), nullptr) * 1024;
  machine.facts["memory"] = {{"total_bytes", static_cast<std::int64_t>(total)},
                             {"available_bytes", static_cast<std::int64_t>(free)}};
  machine.checks.push_back(
      {"memory", free >= kGiB, Need::kRequired,
       fmt::format("{:.1f} GiB free of {:.1f} GiB", free / kGiB, total / kGiB),
       "the demo model needs about 1 GiB, a full-size Stable Diffusion 1.5 about 12 GiB"});
  std::error_code error;
  const auto space = std::filesystem::space(folder, error);
  const double disk = error ? 0 : static_cast<double>(space.available);
  machine.facts["disk"] = {{"folder", folder},
                           {"available_bytes", static_cast<std::int64_t>(disk)}};
  machine.checks.push_back(
      {"disk", disk >= kGiB, Need::kRequired,
       error ? error.message() : fmt::format("{:.1f} GiB free in {}", disk / kGiB, folder),
       "free some space, or write elsewhere with --out"});
}

void check_media(Machine& machine) {
  const media::FfmpegInfo info = media::probe_ffmpeg();
  machine.facts["ffmpeg"] = {{"found", info.found},           {"ffprobe", info.ffprobe_found},
                             {"version", info.version},       {"mp4", info.can_write_mp4()},
                             {"webm", info.can_write_webm()}, {"gif", info.can_write_gif()}};
  std::vector<std::string> formats{"png"};
  if (info.can_write_mp4()) formats.emplace_back("mp4 (H.264)");
  if (info.can_write_webm()) formats.emplace_back("webm (VP9)");
  if (info.can_write_gif()) formats.emplace_back("gif");
  machine.checks.push_back(
      {"video output", info.can_write_mp4() && info.can_write_webm() && info.can_write_gif(),
       Need::kFeature, fmt::format("{}", fmt::join(formats, ", ")),
       "install ffmpeg with libx264 and libvpx (Debian: apt-get install ffmpeg)"});
  machine.checks.push_back({"video input", info.found && info.ffprobe_found, Need::kFeature,
                            info.ffprobe_found ? info.version : "no ffprobe",
                            "install ffmpeg (Debian: apt-get install ffmpeg)"});
}

void check_gangs(Machine& machine) {
  const std::string launcher = first_line_of({"mpirun", "--version"});
  const bool built = comm::mpi_available();
  const std::string library = built ? comm::mpi_version() : "";
  machine.facts["mpi"] = {{"built_in", built}, {"library", library}, {"mpirun", launcher}};
  machine.checks.push_back(
      {"several processes (MPI)", built && !launcher.empty(), Need::kFeature,
       !built ? "not built in" : (launcher.empty() ? "no mpirun" : launcher),
       built ? "install mpirun (Debian: apt-get install openmpi-bin)"
             : "install Open MPI (Debian: libopenmpi-dev openmpi-bin) and build again"});
}

// What nvidia-smi says, whether this build can use it or not.
nlohmann::json smi_lines() {
  media::ChildSpec spec;
  spec.argv = {"nvidia-smi", "--query-gpu=name,memory.total,driver_version",
               "--format=csv,noheader"};
  nlohmann::json lines = nlohmann::json::array();
  try {
    const media::ChildResult result = media::run_child(spec, kChildLimit);
    std::istringstream text(result.exit.ok() ? result.output : "");
    for (std::string line; std::getline(text, line);) lines.push_back(line);
  } catch (const Error&) {  // no nvidia-smi: no device
  }
  return lines;
}

std::string describe(const std::vector<model::CudaDevice>& devices) {
  const auto& first = devices.front();
  std::size_t links = 0;
  for (const auto& device : devices) links += device.peers.size();
  return fmt::format("{} (compute {}.{}, {:.0f} GiB), {} in all{}", first.name,
                     first.capability / 10, first.capability % 10,
                     static_cast<double>(first.memory_bytes) / kGiB, devices.size(),
                     devices.size() == 1 ? ""
                     : links == devices.size() * (devices.size() - 1)
                         ? ", all reach each other's memory"
                         : fmt::format(", {} of {} pairs reach each other's memory", links,
                                       devices.size() * (devices.size() - 1)));
}

// How a gang with one rank on each GPU of this host would exchange activations.
void check_transport(Machine& machine, const std::vector<model::CudaDevice>& devices,
                     const std::string& nccl) {
  std::vector<comm::RankPlace> places;
  for (const auto& device : devices) places.push_back({"this host", device.pci_address, nccl});
  const auto choice = comm::choose_transport(places, comm::TransportWish::kAuto);
  const bool direct = choice.transport == comm::Transport::kNccl;
  machine.facts["cuda"]["fabric"] = {{"one_rank_for_each_gpu", direct ? "nccl" : "mpi"},
                                     {"reason", choice.reason}};
  if (devices.size() < 2) return;  // ranks that share a GPU exchange through host memory
  machine.checks.push_back({"GPU to GPU", direct, Need::kSpeed,
                            direct ? fmt::format("NCCL {}", nccl) : choice.reason,
                            "ranks exchange through host memory; build where NCCL is installed"});
}

void check_gpus(Machine& machine) {
  const nlohmann::json lines = smi_lines();
  const bool built = model::cuda_built_in();
  const auto devices = model::cuda_devices();
  const std::string nccl = comm::nccl_available() ? comm::nccl_version() : "";
  machine.facts["nvidia_devices"] = lines;
  auto& cuda = machine.facts["cuda"] = {{"built_in", built},
                                        {"libraries", model::cuda_versions()},
                                        {"nccl", nccl},
                                        {"devices", nlohmann::json::array()}};
  for (const auto& d : devices) {
    cuda["devices"].push_back({{"name", d.name},
                               {"capability", d.capability},
                               {"multiprocessors", d.multiprocessors},
                               {"memory_bytes", d.memory_bytes},
                               {"pci_address", d.pci_address},
                               {"reaches", d.peers}});
  }
  const std::string seen =
      lines.empty() ? "none"
                    : fmt::format("{} ({} in all)", lines[0].get<std::string>(), lines.size());
  machine.checks.push_back({"NVIDIA devices", !lines.empty() || !devices.empty(), Need::kSpeed,
                            devices.empty() ? seen : describe(devices),
                            "nvidia-smi names none; --device cpu works everywhere"});
  std::string libraries = "not built in";
  if (built)
    libraries = fmt::format("{}, NCCL {}", model::cuda_versions(), nccl.empty() ? "no" : nccl);
  machine.checks.push_back({"CUDA backend", built && !devices.empty(), Need::kSpeed, libraries,
                            built ? "no device that it can use: is the driver there, and as new as "
                                    "the CUDA version?"
                                  : "build with -DSEAMWRIGHT_CUDA=ON (preset cuda) to use a GPU"});
  check_transport(machine, devices, nccl);
}

void check_demo_model(Machine& machine) {
  std::string where;
  try {
    where = find_model("").string();
  } catch (const Error&) {  // reported below
  }
  machine.facts["demo_model"] = where;
  machine.checks.push_back({"demo model", !where.empty(), Need::kFeature,
                            where.empty() ? "not found" : where,
                            "keep models/demo beside the build folder, install with cmake "
                            "--install, or set SEAMWRIGHT_MODELS"});
}

}  // namespace

std::vector<std::string> vector_extensions(const std::string& cpuinfo) {
  static constexpr std::array<const char*, 8> kKnown{
      "sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16"};
  std::istringstream words(proc_value(cpuinfo, "flags"));
  std::vector<std::string> present;
  for (std::string word; words >> word;) present.push_back(word);
  std::vector<std::string> found;
  for (const char* name : kKnown) {
    if (std::find(present.begin(), present.end(), name) != present.end()) found.emplace_back(name);
  }
  return found;
}

bool Machine::usable() const {
  return std::all_of(checks.begin(), checks.end(),
                     [](const Check& check) { return check.ok || check.need != Need::kRequired; });
}

Machine inspect_machine(const std::string& output_folder) {
  Machine machine;
  machine.facts = {{"version", kVersion}};
  check_cpu(machine);
  check_memory_and_disk(machine, output_folder);
  check_media(machine);
  check_gangs(machine);
  check_gpus(machine);
  check_demo_model(machine);
  return machine;
}

}  // namespace seamwright::cli
