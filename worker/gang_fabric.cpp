#include "worker/gang_fabric.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace seamwright::worker {
namespace {

using Json = nlohmann::json;

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof(name) - 1) == 0 ? name : "unknown";
}

std::string nccl_of_this_build() {
  return comm::nccl_available() ? comm::nccl_version() : std::string();
}

std::vector<std::string> gather(comm::Fabric& fabric, const std::string& own) {
  std::vector<std::string> all;
  for (const auto& bytes : fabric.all_gather(std::as_bytes(std::span(own)))) {
    all.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  return all;
}

// Where this rank would compute: its host's GPUs are taken in turn.
comm::RankPlace place_of(const std::string& host, int rank_on_host,
                         const GangFabricOptions& options) {
  comm::RankPlace place{host, "", options.nccl ? options.nccl() : nccl_of_this_build()};
  const auto devices = options.gpus ? options.devices() : std::vector<model::CudaDevice>();
  if (!devices.empty()) {
    place.device = devices[static_cast<std::size_t>(rank_on_host) % devices.size()].pci_address;
  }
  return place;
}

std::string note_of(const comm::TransportChoice& choice, const GangFabricOptions& options,
                    const std::vector<comm::RankPlace>& places) {
  if (choice.transport == comm::Transport::kNccl) {
    return fmt::format("activations go over NCCL {}, from GPU to GPU: {}", places.front().nccl,
                       choice.reason);
  }
  const bool any_gpu = std::ranges::any_of(places, [](const auto& p) { return !p.device.empty(); });
  if (!any_gpu && options.wish == comm::TransportWish::kAuto) return {};
  return fmt::format("messages go through host memory: {}", choice.reason);
}

}  // namespace

GangFabric connect_gang(std::shared_ptr<comm::Fabric> control, const GangFabricOptions& options) {
  GangFabric gang;
  const auto hosts = gather(*control, host_name());
  gang.rank_on_host = comm::rank_on_host(hosts, control->rank());
  const auto own =
      place_of(hosts[static_cast<std::size_t>(control->rank())], gang.rank_on_host, options);
  std::vector<comm::RankPlace> places;
  for (const auto& text : gather(*control, Json{own.host, own.device, own.nccl}.dump())) {
    const auto place = Json::parse(text);
    places.push_back({place.at(0), place.at(1), place.at(2)});
  }
  gang.choice = comm::choose_transport(places, options.wish);
  gang.note = note_of(gang.choice, options, places);
  if (gang.choice.transport == comm::Transport::kHost) {
    gang.fabric = std::move(control);
    return gang;
  }
  const auto count = static_cast<int>(options.devices().size());
  gang.fabric =
      comm::connect_nccl(std::move(control), options.nccl_calls(gang.rank_on_host % count));
  return gang;
}

}  // namespace seamwright::worker
