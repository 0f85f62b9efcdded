#include "comm/transport.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/error.h"

namespace seamwright::comm {

namespace {

TransportChoice possible(std::span<const RankPlace> ranks) {
  if (ranks.size() < 2) return {Transport::kHost, "one rank has nobody to send to"};
  std::map<std::pair<std::string, std::string>, std::size_t> users;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    const auto& place = ranks[rank];
    if (place.device.empty()) {
      return {Transport::kHost, fmt::format("rank {} computes on a processor", rank)};
    }
    const auto [first, alone] = users.emplace(std::pair(place.host, place.device), rank);
    if (!alone) {
      return {Transport::kHost,
              fmt::format("ranks {} and {} share GPU {} of {}, which NCCL refuses", first->second,
                          rank, place.device, place.host)};
    }
  }
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    if (ranks[rank].nccl.empty()) {
      return {Transport::kHost, fmt::format("the program of rank {} has no NCCL", rank)};
    }
    if (ranks[rank].nccl != ranks.front().nccl) {
      return {Transport::kHost, fmt::format("rank {} has NCCL {}, rank 0 has {}", rank,
                                            ranks[rank].nccl, ranks.front().nccl)};
    }
  }
  return {Transport::kNccl, "every rank has a GPU of its own"};
}

}  // namespace

TransportWish parse_transport_wish(const std::string& text) {
  if (text == "auto") return TransportWish::kAuto;
  if (text == "nccl") return TransportWish::kNccl;
  require(text == "mpi", "fabric is '{}', but must be one of: auto nccl mpi", text);
  return TransportWish::kHost;
}

TransportChoice choose_transport(std::span<const RankPlace> ranks, TransportWish wish) {
  if (wish == TransportWish::kHost) return {Transport::kHost, "asked for"};
  auto choice = possible(ranks);
  if (wish == TransportWish::kNccl && choice.transport != Transport::kNccl) {
    fail(ErrorCode::kUnsupported,
         "fabric nccl is not possible here: {}; use --fabric auto or mpi, or give every rank a GPU "
         "of "
         "its own",
         choice.reason);
  }
  return choice;
}

int rank_on_host(std::span<const std::string> hosts, int rank) {
  const auto own = hosts.begin() + rank;
  return static_cast<int>(std::count(hosts.begin(), own, *own));
}

}  // namespace seamwright::comm
