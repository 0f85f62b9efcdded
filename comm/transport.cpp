#include "comm/transport.h"

#include <fmt/format.h>

#include <map>
#include <utility>

namespace seamwright::comm {

TransportChoice choose_transport(std::span<const RankPlace> ranks, bool nccl_available) {
  if (ranks.size() < 2) return {Transport::kHost, "one rank has nobody to send to"};
  std::map<std::pair<std::string, std::string>, std::size_t> users;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    const auto& place = ranks[rank];
    if (place.device.empty()) {
      return {Transport::kHost, fmt::format("rank {} computes on a processor", rank)};
    }
    const auto [first, alone] = users.emplace(std::pair(place.host, place.device), rank);
    if (!alone) {
      return {Transport::kHost, fmt::format("ranks {} and {} share GPU {} of {}, which NCCL refuses",
                                            first->second, rank, place.device, place.host)};
    }
  }
  if (!nccl_available) return {Transport::kHost, "this build has no NCCL"};
  return {Transport::kNccl, "every rank has a GPU of its own"};
}

}  // namespace seamwright::comm
