// Conformance: mail and collectives.
#include <condition_variable>
#include <mutex>
#include <thread>

#include "tests/unit/comm/fabric_cases.h"
#include "tests/unit/comm/fabric_conformance.h"

namespace seamwright::comm::conformance {
namespace {

using std::chrono::milliseconds;

// Collects mail until a number of them have come.
class Letterbox {
 public:
  explicit Letterbox(Fabric& fabric) : fabric_(fabric) {
    fabric.set_mail_handler([this](int from, Bytes mail) {
      std::scoped_lock lock(mutex_);
      mail_.emplace_back(from, std::move(mail));
      arrived_.notify_all();
    });
  }
  ~Letterbox() { fabric_.set_mail_handler(nullptr); }
  std::vector<std::pair<int, Bytes>> wait_for_mail(std::size_t count) {
    std::unique_lock lock(mutex_);
    arrived_.wait_for(lock, std::chrono::seconds(60), [&] { return mail_.size() >= count; });
    return mail_;
  }

 private:
  Fabric& fabric_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<std::pair<int, Bytes>> mail_;
};

Bytes pattern_bytes(std::size_t size, std::uint64_t key) {
  const Buffer buffer = pattern_buffer(size, key);
  return {buffer.bytes.begin(), buffer.bytes.end()};
}

TEST_P(FabricConformance, MailArrivesInOrderPerSenderWhateverItsSize) {
  run([](Fabric& fabric) {
    const std::vector<std::size_t> sizes = {3 << 20, 8, 100000, 0, 5 << 20, 1};
    {
      Letterbox box(fabric);
      fabric.barrier();
      for (int peer = 0; peer < fabric.size(); ++peer) {
        for (std::size_t i = 0; i < sizes.size(); ++i)
          fabric.post(peer, pattern_bytes(sizes[i], i));
      }
      const auto mail = box.wait_for_mail(sizes.size() * std::size_t(fabric.size()));
      ASSERT_EQ(mail.size(), sizes.size() * std::size_t(fabric.size()));
      std::vector<std::size_t> next(std::size_t(fabric.size()), 0);
      for (const auto& [from, bytes] : mail) {
        const std::size_t i = next[std::size_t(from)]++;
        EXPECT_EQ(bytes.size(), sizes[i]);
        EXPECT_TRUE(has_pattern(bytes, i));
      }
    }
    fabric.barrier();  // nobody's next mail before every letterbox is gone
  });
}

TEST_P(FabricConformance, MailWaitsForAHandler) {
  run([](Fabric& fabric) {
    if (fabric.rank() != 0) fabric.post(0, pattern_bytes(9, std::uint64_t(fabric.rank())));
    fabric.barrier();
    if (fabric.rank() == 0) {
      std::this_thread::sleep_for(milliseconds(20));
      Letterbox box(fabric);
      EXPECT_EQ(box.wait_for_mail(std::size_t(fabric.size() - 1)).size(),
                std::size_t(fabric.size() - 1));
    }
    fabric.barrier();
  });
}

TEST_P(FabricConformance, MailPassesMessagesThatAreBlocked) {
  if (GetParam().alone) GTEST_SKIP() << "needs a second rank";
  run([](Fabric& fabric) {
    if (fabric.rank() == 0) {
      const Operation blocked = fabric.recv(1, case_buffer(16));
      fabric.post(1, Bytes(1));
      blocked.wait();
    } else if (fabric.rank() == 1) {
      Letterbox box(fabric);
      EXPECT_EQ(box.wait_for_mail(1).size(), 1U);
      fabric.send(0, case_buffer(16)).wait();
    }
  });
}

TEST_P(FabricConformance, BroadcastGivesEveryRankTheRootsBytes) {
  run([](Fabric& fabric) {
    for (int root = 0; root < fabric.size(); ++root) {
      for (const std::size_t size : {std::size_t{0}, std::size_t{10}, std::size_t{2} << 20U}) {
        Bytes bytes = fabric.rank() == root ? pattern_bytes(size, 77) : Bytes(3);
        fabric.broadcast(root, bytes);
        EXPECT_EQ(bytes.size(), size);
        EXPECT_TRUE(has_pattern(bytes, 77));
      }
    }
  });
}

TEST_P(FabricConformance, AllReduceSumsInRankOrderAndTakesMaxima) {
  run([](Fabric& fabric) {
    const double mine = fabric.rank() == 0 ? 1e16 : 1.0;  // order matters for these
    double expected = 1e16;
    for (int r = 1; r < fabric.size(); ++r) expected += 1.0;
    const std::vector<double> values = {mine, double(fabric.rank())};
    const std::vector<double> sum = fabric.all_reduce(values, Reduction::kSum);
    EXPECT_EQ(sum[0], expected);
    const std::vector<double> most = fabric.all_reduce(values, Reduction::kMax);
    EXPECT_EQ(most[0], fabric.size() > 0 ? 1e16 : 0);
    EXPECT_EQ(most[1], double(fabric.size() - 1));
    EXPECT_TRUE(fabric.all_reduce({}, Reduction::kSum).empty());
  });
}

TEST_P(FabricConformance, AllGatherKeepsRanksAndSizesApart) {
  run([](Fabric& fabric) {
    const auto size_of = [](int rank) { return std::size_t(rank) * 1000; };  // rank 0: empty
    const Bytes mine = pattern_bytes(size_of(fabric.rank()), std::uint64_t(fabric.rank()));
    const std::vector<Bytes> all = fabric.all_gather(mine);
    ASSERT_EQ(all.size(), std::size_t(fabric.size()));
    for (int rank = 0; rank < fabric.size(); ++rank) {
      EXPECT_EQ(all[std::size_t(rank)].size(), size_of(rank));
      EXPECT_TRUE(has_pattern(all[std::size_t(rank)], std::uint64_t(rank)));
    }
  });
}

TEST_P(FabricConformance, BarrierHoldsEveryRankUntilTheLast) {
  run([](Fabric& fabric) {
    const auto now = [] { return std::chrono::steady_clock::now().time_since_epoch(); };
    std::this_thread::sleep_for(milliseconds(20 * fabric.rank()));
    const double entered = std::chrono::duration<double>(now()).count();
    fabric.barrier();
    const double left = std::chrono::duration<double>(now()).count();
    // One host, one steady clock.
    EXPECT_GE(left, fabric.all_reduce({{entered}}, Reduction::kMax)[0]);
  });
}

}  // namespace
}  // namespace seamwright::comm::conformance
