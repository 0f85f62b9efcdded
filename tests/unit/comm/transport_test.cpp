#include "comm/transport.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"

namespace seamwright::comm {
namespace {

struct Case {
  const char* what;
  std::vector<RankPlace> ranks;
  Transport transport;
  const char* reason;
};

TEST(ChooseTransport, TakesNcclWhereEveryRankHasItsOwnGpu) {
  const Case cases[] = {
      {"one rank", {{"a", "0", "2.28"}}, Transport::kHost, "nobody"},
      {"two GPUs of a host", {{"a", "0", "2.28"}, {"a", "1", "2.28"}}, Transport::kNccl, "own"},
      {"same address, two hosts",
       {{"a", "0", "2.28"}, {"b", "0", "2.28"}},
       Transport::kNccl,
       "own"},
      {"one GPU for two",
       {{"a", "0", "2.28"}, {"b", "0", "2.28"}, {"a", "0", "2.28"}},
       Transport::kHost,
       "ranks 0 and 2 share GPU 0 of a"},
      {"a rank without GPU", {{"a", "0", "2.28"}, {"b", "", "2.28"}}, Transport::kHost, "rank 1"},
      {"no NCCL", {{"a", "0", "2.28"}, {"a", "1", ""}}, Transport::kHost, "rank 1 has no NCCL"},
      {"two versions", {{"a", "0", "2.28"}, {"a", "1", "2.27"}}, Transport::kHost, "2.27"}};
  for (const auto& c : cases) {
    const auto choice = choose_transport(c.ranks, TransportWish::kAuto);
    EXPECT_EQ(choice.transport, c.transport) << c.what;
    EXPECT_NE(choice.reason.find(c.reason), std::string::npos) << c.what << ": " << choice.reason;
    EXPECT_EQ(choose_transport(c.ranks, TransportWish::kHost).transport, Transport::kHost);
    if (c.transport == Transport::kNccl) {
      EXPECT_EQ(choose_transport(c.ranks, TransportWish::kNccl).transport, Transport::kNccl);
    } else {
      EXPECT_THROW(choose_transport(c.ranks, TransportWish::kNccl), Error) << c.what;
    }
  }
}

TEST(ChooseTransport, KnowsItsWishes) {
  EXPECT_EQ(parse_transport_wish("auto"), TransportWish::kAuto);
  EXPECT_EQ(parse_transport_wish("nccl"), TransportWish::kNccl);
  EXPECT_EQ(parse_transport_wish("mpi"), TransportWish::kHost);
  EXPECT_THROW(parse_transport_wish("tcp"), Error);
}

TEST(ChooseTransport, CountsTheRanksOfEachHost) {
  const std::vector<std::string> hosts{"a", "b", "a", "b", "a"};
  const std::vector<int> expected{0, 0, 1, 1, 2};
  for (int rank = 0; rank < 5; ++rank) {
    EXPECT_EQ(rank_on_host(hosts, rank), expected[static_cast<std::size_t>(rank)]);
  }
}

}  // namespace
}  // namespace seamwright::comm
