// The NCCL fabric against the double: the whole fabric suite, and what is NCCL's own.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

#include "comm/loopback/loopback.h"
#include "comm/nccl/nccl_fabric.h"
#include "tests/unit/comm/fabric_cases.h"
#include "tests/unit/comm/fabric_conformance.h"
#include "tests/unit/comm/fake_nccl.h"

namespace seamwright::comm::conformance {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

NcclOptions quick_options() {
  NcclOptions options;
  options.join_limit = milliseconds(20000);
  options.watch_interval = milliseconds(10);
  return options;
}

// Every rank's thread connects and runs; the fabrics live until the gang ends.
class NcclTestGang final : public TestGang {
 public:
  explicit NcclTestGang(int size) : world_(std::make_shared<FakeNcclWorld>(size)) {
    host_ = std::make_shared<LoopbackGang>(size);
    fabrics_.resize(static_cast<std::size_t>(size));
  }
  ~NcclTestGang() override {
    // An orderly end is collective, so the ranks' threads end together.
    each_rank([this](int rank) {
      std::unique_ptr<Fabric>& fabric = fabrics_[std::size_t(rank)];
      try {
        if (fabric && !fabric->aborted() && !fabric->closed()) fabric->close();
      } catch (const Error& error) {
        // A rank that is lost has not seen its gang's end yet, and cannot close any more.
        fabric->abort(error.what());
      }
      fabric.reset();
    });
    host_.reset();
    for (const std::string& broken : world_->violations()) ADD_FAILURE() << "NCCL rule: " << broken;
  }

  void run(const RankBody& body) override {
    each_rank([&](int rank) {
      std::unique_ptr<Fabric>& fabric = fabrics_[std::size_t(rank)];
      try {
        if (!fabric) fabric = connect(rank);
        body(*fabric);
      } catch (const std::exception& error) {
        ADD_FAILURE() << "rank " << rank << ": " << error.what();
        if (fabric) fabric->abort("the test failed");
      }
    });
  }
  void lose_me(Fabric& me) override { host_->lose(me.rank()); }

  std::unique_ptr<Fabric> connect(int rank, const NcclOptions& options = quick_options()) {
    return connect_nccl(std::shared_ptr<Fabric>(host_, &host_->fabric(rank)), world_->calls(rank),
                        options);
  }
  Fabric& host() { return host_->fabric(1); }
  FakeNcclWorld& world() { return *world_; }
  template <class Call>
  void each_rank(Call&& call) {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < int(fabrics_.size()); ++rank) {
      threads.emplace_back([&call, rank] { call(rank); });
    }
    for (std::thread& thread : threads) thread.join();
  }

 private:
  std::shared_ptr<FakeNcclWorld> world_;
  std::shared_ptr<LoopbackGang> host_;
  std::vector<std::unique_ptr<Fabric>> fabrics_;
};

const auto kNccl =
    testing::Values(Implementation{"Double2", [] { return std::make_unique<NcclTestGang>(2); }},
                    Implementation{"Double4", [] { return std::make_unique<NcclTestGang>(4); }});
INSTANTIATE_TEST_SUITE_P(Nccl, FabricConformance, kNccl, implementation_name);
INSTANTIATE_TEST_SUITE_P(Nccl, FabricEnding, kNccl, implementation_name);

TEST(NcclFabric, OneRankSendsToItself) {
  NcclTestGang gang(1);
  gang.run([](Fabric& fabric) { exchange_messages(fabric, {{0, 0, 1 << 20, 9}}); });
}

TEST(NcclFabric, AnAsynchronousErrorEndsTheWholeGang) {
  NcclTestGang gang(3);
  gang.run([&](Fabric& fabric) {
    const Operation never = fabric.recv((fabric.rank() + 1) % 3, allocate_buffer(64));
    report_ready(fabric, 2);
    if (fabric.rank() == 2) gang.world().inject_error(2, "unhandled system error on the network");
    const Error error = error_of([&] { never.wait(); });
    EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
    EXPECT_NE(std::string(error.what()).find("unhandled system error"), std::string::npos)
        << error.what();
    EXPECT_TRUE(gang.world().was_aborted(fabric.rank()));
  });
}

TEST(NcclFabric, TheWatchdogFindsErrorsWhileNothingIsUnderWay) {
  NcclTestGang gang(2);
  gang.run([&](Fabric& fabric) {
    report_ready(fabric, 0);
    if (fabric.rank() == 0) gang.world().inject_error(0, "link down");
    for (int i = 0; i < 4000 && !fabric.aborted(); ++i)
      std::this_thread::sleep_for(milliseconds(5));
    ASSERT_TRUE(fabric.aborted().has_value());
    EXPECT_NE(std::string(fabric.aborted()->what()).find("link down"), std::string::npos);
  });
}

TEST(NcclFabric, ARefusalToJoinIsAnErrorOnEveryRank) {
  NcclTestGang gang(2);
  gang.world().fail_init("Duplicate GPU detected");
  gang.each_rank([&](int rank) {
    const Error error = error_of([&] { gang.connect(rank); });
    EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
    EXPECT_NE(std::string(error.what()).find("Duplicate GPU"), std::string::npos) << error.what();
  });
}

TEST(NcclFabric, ARankThatNeverJoinsIsNotWaitedForLonger) {
  NcclTestGang gang(2);
  gang.each_rank([&](int rank) {
    NcclOptions options = quick_options();
    options.join_limit = milliseconds(100);
    if (rank == 0) {
      const Error error = error_of([&] { gang.connect(rank, options); });
      EXPECT_NE(std::string(error.what()).find("in time"), std::string::npos) << error.what();
    } else {
      // Learns the id, and then never calls NCCL.
      Bytes unique_id;
      gang.host().broadcast(0, unique_id);
    }
  });
}

// Bytes whose owner notes when it goes.
Buffer watched_buffer(std::size_t size, std::function<void()> gone) {
  auto* bytes = new std::vector<std::byte>(size);
  std::shared_ptr<void> owner(bytes, [gone](void* p) {
    gone();
    delete static_cast<std::vector<std::byte>*>(p);
  });
  return {owner, *bytes};
}

TEST(NcclFabric, BuffersLiveUntilTheDeviceLetsGo) {
  NcclTestGang gang(2);
  gang.run([&](Fabric& fabric) {
    std::atomic<bool> gone{false};
    gang.world().hold(true);
    fabric.barrier();
    Operation operation;
    {
      const Buffer buffer = watched_buffer(1000, [&] { gone = true; });
      operation = fabric.rank() == 0 ? fabric.send(1, buffer) : fabric.recv(0, buffer);
    }
    EXPECT_FALSE(operation.wait_for(milliseconds(50)));
    EXPECT_FALSE(gone);
    fabric.barrier();
    gang.world().hold(false);
    operation.wait();
    for (int i = 0; i < 2000 && !gone; ++i) std::this_thread::sleep_for(milliseconds(1));
    EXPECT_TRUE(gone);
  });
}

TEST(NcclFabric, AnAbortStopsTheDeviceBeforeBuffersGo) {
  NcclTestGang gang(2);
  gang.run([&](Fabric& fabric) {
    std::atomic<int> aborted_when_gone{-1};
    gang.world().hold(true);
    fabric.barrier();
    Operation operation;
    {
      const Buffer buffer = watched_buffer(1000, [&, rank = fabric.rank()] {
        aborted_when_gone = gang.world().was_aborted(rank) ? 1 : 0;
      });
      operation = fabric.rank() == 0 ? fabric.send(1, buffer) : fabric.recv(0, buffer);
    }
    report_ready(fabric, 0);
    std::this_thread::sleep_for(milliseconds(20));  // let it reach the device
    if (fabric.rank() == 0) fabric.abort("enough");
    error_of([&] { operation.wait(); });
    for (int i = 0; i < 2000 && aborted_when_gone < 0; ++i) {
      std::this_thread::sleep_for(milliseconds(1));
    }
    EXPECT_EQ(aborted_when_gone, 1);
  });
}

TEST(NcclFabric, MessagesAreOrderedWithStreamsWithoutTheHost) {
  NcclTestGang gang(2);
  gang.run([&](Fabric& fabric) {
    const auto calls = gang.world().calls(fabric.rank());
    const Stream compute = calls->create_stream();
    const Buffer buffer = allocate_buffer(4096);
    std::atomic<bool> checked{false};
    Operation operation;
    if (fabric.rank() == 0) {
      // The "kernel" that produces the bytes is slow; the send is given to the fabric at once.
      run_on_fake_stream(compute, [buffer] {
        std::this_thread::sleep_for(milliseconds(500));
        const Buffer made = pattern_buffer(4096, 3);
        std::memcpy(buffer.bytes.data(), made.bytes.data(), 4096);
      });
      operation = fabric.send(1, buffer, compute);
      checked = true;
      fabric.barrier();
    } else {
      operation = fabric.recv(0, buffer, compute);
      fabric.barrier();  // both ends are posted
      const auto start = std::chrono::steady_clock::now();
      operation.order_before(compute);
      EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(400)) << "the host waited";
      run_on_fake_stream(compute, [&] {
        EXPECT_TRUE(has_pattern(buffer.bytes, 3));
        checked = true;
      });
    }
    operation.wait();
    for (int i = 0; i < 2000 && !checked; ++i) std::this_thread::sleep_for(milliseconds(1));
    EXPECT_TRUE(checked);
    calls->destroy_stream(compute);
  });
}

// Of the messages of one gang some lie in device memory and some do not: each kind goes its own
// way, in its own order, and one that waits does not hold up the other kind.
TEST(NcclFabric, MessagesInHostMemoryGoOverTheHostFabric) {
  NcclTestGang gang(2);
  std::vector<Buffer> on_device;
  for (int i = 0; i < 4; ++i) on_device.push_back(allocate_buffer(1 << 16));
  gang.world().reaches = [&](const void* bytes) {
    return std::ranges::any_of(on_device, [&](const Buffer& b) { return b.bytes.data() == bytes; });
  };
  gang.world().hold(true);
  gang.run([&](Fabric& fabric) {
    EXPECT_TRUE(fabric.carries_device_memory());
    const int me = fabric.rank(), peer = 1 - me;
    std::vector<Operation> device_ends, host_ends;
    std::vector<Buffer> landed;
    for (int i = 0; i < 2; ++i) {
      const Buffer& mine = on_device[std::size_t(2 * i + me)];
      if (me == 0) {
        std::ranges::copy(pattern_buffer(1 << 16, i).bytes, mine.bytes.begin());
        device_ends.push_back(fabric.send(peer, mine));
        host_ends.push_back(fabric.send(peer, pattern_buffer(1000, 10 + i)));
      } else {
        landed.push_back(allocate_buffer(1000));
        device_ends.push_back(fabric.recv(peer, mine));
        host_ends.push_back(fabric.recv(peer, landed.back()));
      }
    }
    for (const auto& end : host_ends) end.wait();
    EXPECT_FALSE(device_ends[0].wait_for(milliseconds(20)));
    fabric.barrier();
    gang.world().hold(false);
    for (const auto& end : device_ends) end.wait();
    if (me == 0) return;
    for (int i = 0; i < 2; ++i) {
      EXPECT_TRUE(has_pattern(landed[std::size_t(i)].bytes, 10 + i));
      EXPECT_TRUE(has_pattern(on_device[std::size_t(2 * i + 1)].bytes, i));
    }
  });
  EXPECT_EQ(gang.world().transfers(), 4);
}

// A kernel of NCCL's that waits for a peer spins on the device, where it can hold up what the peer
// waits for: none is launched before both ends are posted.
TEST(NcclFabric, NothingIsLaunchedBeforeBothEndsAreThere) {
  NcclTestGang gang(2);
  gang.run([&](Fabric& fabric) {
    if (fabric.rank() == 0) {
      const Operation early = fabric.send(1, pattern_buffer(1000, 1));
      EXPECT_FALSE(early.wait_for(milliseconds(50)));
      EXPECT_EQ(gang.world().transfers(), 0);
      fabric.barrier();
      early.wait();
    } else {
      fabric.barrier();
      const Buffer landed = allocate_buffer(1000);
      fabric.recv(0, landed).wait();
      EXPECT_TRUE(has_pattern(landed.bytes, 1));
    }
  });
  EXPECT_EQ(gang.world().transfers(), 2);
}

// What was sent over the host fabric fails with the gang, too.
TEST(NcclFabric, AnAbortEndsMessagesInHostMemory) {
  NcclTestGang gang(2);
  gang.world().reaches = [](const void*) { return false; };
  gang.run([&](Fabric& fabric) {
    const Operation never = fabric.recv(1 - fabric.rank(), allocate_buffer(8));
    report_ready(fabric, 0);
    if (fabric.rank() == 0) fabric.abort("over");
    EXPECT_EQ(error_of([&] { never.wait(); }).code(), ErrorCode::kUnavailable);
  });
}

TEST(NcclFabric, OrderBeforeThrowsWhenTheMessageWillNeverBe) {
  NcclTestGang gang(2);
  gang.run([&](Fabric& fabric) {
    const Operation never = fabric.recv(1 - fabric.rank(), allocate_buffer(8));
    const Operation behind = fabric.recv(1 - fabric.rank(), allocate_buffer(8));
    report_ready(fabric, 0);
    if (fabric.rank() == 0) fabric.abort("over");
    error_of([&] { behind.wait(); });
    const auto calls = gang.world().calls(fabric.rank());
    const Stream compute = calls->create_stream();
    EXPECT_THROW(behind.order_before(compute), Error);
    calls->destroy_stream(compute);
  });
}

}  // namespace
}  // namespace seamwright::comm::conformance
