#include "comm/loopback/loopback.h"

#include <thread>

#include "tests/unit/comm/fabric_conformance.h"

namespace seamwright::comm::conformance {
namespace {

class LoopbackTestGang final : public TestGang {
 public:
  LoopbackTestGang(int size, const LoopbackOptions& options) : gang_(size, options) {}

  void run(const RankBody& body) override {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < gang_.size(); ++rank) {
      threads.emplace_back([this, rank, &body] {
        try {
          body(gang_.fabric(rank));
        } catch (const std::exception& error) {
          ADD_FAILURE() << "rank " << rank << ": " << error.what();
          gang_.fabric(rank).abort("the test failed");
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  void lose_me(Fabric& me) override { gang_.lose(me.rank()); }

 private:
  LoopbackGang gang_;
};

Implementation loopback(const std::string& name, int size, bool rendezvous) {
  return {name, [size, rendezvous] {
            LoopbackOptions options;
            options.rendezvous = rendezvous;
            return std::make_unique<LoopbackTestGang>(size, options);
          }};
}

const auto kLoopbacks =
    testing::Values(loopback("Normal2", 2, false), loopback("Normal4", 4, false),
                    loopback("Rendezvous2", 2, true), loopback("Rendezvous4", 4, true));
INSTANTIATE_TEST_SUITE_P(Loopback, FabricConformance, kLoopbacks, implementation_name);
INSTANTIATE_TEST_SUITE_P(Loopback, FabricEnding, kLoopbacks, implementation_name);

}  // namespace
}  // namespace seamwright::comm::conformance
