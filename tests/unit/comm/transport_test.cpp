#include "comm/transport.h"

#include <gtest/gtest.h>

#include <vector>

namespace seamwright::comm {
namespace {

struct Case {
  const char* what;
  std::vector<RankPlace> ranks;
  bool nccl;
  Transport transport;
  const char* reason;
};

TEST(ChooseTransport, TakesNcclWhereEveryRankHasItsOwnGpu) {
  const Case cases[] = {
      {"one rank", {{"a", "0"}}, true, Transport::kHost, "nobody"},
      {"two GPUs of a host", {{"a", "0"}, {"a", "1"}}, true, Transport::kNccl, "own"},
      {"same address, two hosts", {{"a", "0"}, {"b", "0"}}, true, Transport::kNccl, "own"},
      {"one GPU for two", {{"a", "0"}, {"b", "0"}, {"a", "0"}}, true, Transport::kHost,
       "ranks 0 and 2 share GPU 0 of a"},
      {"a rank without GPU", {{"a", "0"}, {"b", ""}}, true, Transport::kHost, "rank 1"},
      {"no NCCL", {{"a", "0"}, {"a", "1"}}, false, Transport::kHost, "no NCCL"}};
  for (const auto& c : cases) {
    const auto choice = choose_transport(c.ranks, c.nccl);
    EXPECT_EQ(choice.transport, c.transport) << c.what;
    EXPECT_NE(choice.reason.find(c.reason), std::string::npos) << c.what << ": " << choice.reason;
  }
}

}  // namespace
}  // namespace seamwright::comm
