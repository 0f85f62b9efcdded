// Conformance: messages, groups, operations.
#include <algorithm>
#include <atomic>
#include <functional>
#include <random>
#include <thread>

#include "tests/unit/comm/fabric_cases.h"
#include "tests/unit/comm/fabric_conformance.h"

namespace seamwright::comm::conformance {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_P(FabricConformance, MessagesToAPeerArriveInTheOrderSent) {
  run([](Fabric& fabric) {
    std::vector<Message> ring;
    for (std::uint64_t i = 0; i < 50; ++i) {
      for (int from = 0; from < fabric.size(); ++from) {
        // Same size every time, so that only the order can tell them apart.
        ring.push_back({from, (from + 1) % fabric.size(), 1024, i * 100 + std::uint64_t(from)});
      }
    }
    exchange_messages(fabric, ring);
  });
}

TEST_P(FabricConformance, CarriesEverySizeFromZeroTo256MiB) {
  run([](Fabric& fabric) {
    std::uint64_t key = 1;
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{1}, std::size_t{7}, std::size_t{4096}, std::size_t{65535},
          std::size_t{65536}, std::size_t{65537}, std::size_t{1} << 20U,
          (std::size_t{16} << 20U) + 1, std::size_t{256} << 20U}) {
      exchange_messages(fabric, {{0, fabric.size() - 1, size, key++}});
    }
  });
}

TEST_P(FabricConformance, KeepsManyMessagesInFlight) {
  run([](Fabric& fabric) {
    std::mt19937 draw(7);  // the same on every rank: the order is global
    std::vector<Message> messages;
    for (std::uint64_t i = 0; i < 2000; ++i) {
      const int from = static_cast<int>(draw() % std::uint32_t(fabric.size()));
      const int to = static_cast<int>(draw() % std::uint32_t(fabric.size()));
      messages.push_back({from, to, draw() % 3000, i});
    }
    exchange_messages(fabric, messages);
  });
}

TEST_P(FabricConformance, MovesBothDirectionsAtOnceInAGroup) {
  run([](Fabric& fabric) {
    // Every rank sends first: without the group this would hang on a fabric without buffers.
    constexpr std::size_t kSize = 4 << 20;
    const int next = (fabric.rank() + 1) % fabric.size();
    const int last = (fabric.rank() + fabric.size() - 1) % fabric.size();
    const Buffer arrival = case_buffer(kSize);
    Group group(fabric);
    const Operation sent = fabric.send(next, pattern_buffer(kSize, std::uint64_t(fabric.rank())));
    const Operation received = fabric.recv(last, arrival);
    group.end();
    sent.wait();
    received.wait();
    EXPECT_TRUE(has_pattern(arrival.bytes, std::uint64_t(last)));
  });
}

TEST_P(FabricConformance, SendsToItselfInAGroup) {
  run([](Fabric& fabric) {
    exchange_messages(fabric, {{fabric.rank(), fabric.rank(), 100000, 42}});
  });
}

// The buffer, and what happens when its last owner lets go of it.
Buffer watched(const Buffer& buffer, std::function<void(std::span<std::byte>)> at_end) {
  const auto end = [buffer, at_end = std::move(at_end)](void*) { at_end(buffer.bytes); };
  return {std::shared_ptr<void>(buffer.bytes.data(), end), buffer.bytes};
}

// Whoever learns that an operation succeeded may take down what its memory came from.
TEST_P(FabricConformance, OperationsOwnTheirBuffersUntilCompleteAndNoLonger) {
  if (GetParam().alone) GTEST_SKIP() << "needs a second rank";
  run([](Fabric& fabric) {
    if (fabric.rank() > 1) return;
    for (int round = 0; round < 200; ++round) {
      const std::size_t size = round % 2 == 0 ? 1 << 16 : 7;
      const auto key = static_cast<std::uint64_t>(round);
      std::atomic<bool> ended{false}, called{false};
      const bool calls_back = round % 4 < 2;
      if (round == 0 && fabric.rank() == 1) std::this_thread::sleep_for(milliseconds(50));
      Operation operation;
      if (fabric.rank() == 0) {
        operation = fabric.send(1, watched(pattern_buffer(size, key), [&](auto bytes) {
                                  std::ranges::fill(bytes, std::byte{0xFF});
                                  ended = true;
                                }));
      } else {
        operation = fabric.recv(0, watched(case_buffer(size), [&, key](auto bytes) {
                                  EXPECT_TRUE(has_pattern(bytes, key)) << "round " << round;
                                  ended = true;
                                }));
      }
      if (calls_back) {
        operation.on_complete([&](const Error*) {
          EXPECT_TRUE(ended) << "in the callback of round " << round;
          called = true;
        });
      }
      operation.wait();
      EXPECT_TRUE(ended) << "after waiting, round " << round;
      while (calls_back && !called) std::this_thread::yield();
    }
  });
}

TEST_P(FabricConformance, ReceivesAreNotCompleteBeforeTheirMessage) {
  if (GetParam().alone) GTEST_SKIP() << "needs a second rank";
  run([](Fabric& fabric) {
    if (fabric.rank() == 1) {
      const Operation received = fabric.recv(0, case_buffer(8));
      EXPECT_FALSE(received.wait_for(milliseconds(50)));
      EXPECT_FALSE(received.test());
      EXPECT_EQ(received.error(), nullptr);
      fabric.post(0, Bytes(1));
      received.wait();
      EXPECT_TRUE(received.test());
    } else if (fabric.rank() == 0) {
      std::atomic<bool> go{false};
      fabric.set_mail_handler([&](int, Bytes) { go = true; });
      while (!go) std::this_thread::sleep_for(milliseconds(1));
      fabric.set_mail_handler(nullptr);
      fabric.send(1, pattern_buffer(8, 1)).wait();
    }
  });
}

TEST_P(FabricConformance, CallbacksRunOnceEachAndNeverTwoAtATime) {
  if (GetParam().alone) GTEST_SKIP() << "needs a second rank";
  run([](Fabric& fabric) {
    std::atomic<int> running{0};
    std::atomic<int> most{0};
    std::atomic<int> count{0};
    const std::thread::id own = std::this_thread::get_id();
    const auto callback = [&](const Error* error) {
      EXPECT_EQ(error, nullptr);
      if (std::this_thread::get_id() != own) {  // else: it was complete already
        if (++running > most) most = running.load();
        std::this_thread::sleep_for(std::chrono::microseconds(50));
        --running;
      }
      ++count;
    };
    std::vector<Operation> operations;
    constexpr std::size_t kSize = 1 << 20;
    for (int i = 0; i < 10; ++i) {
      for (int from = 0; from < fabric.size(); ++from) {
        const int to = (from + 1) % fabric.size();
        if (from == fabric.rank()) operations.push_back(fabric.send(to, case_buffer(kSize)));
        if (to == fabric.rank()) operations.push_back(fabric.recv(from, case_buffer(kSize)));
      }
    }
    for (const Operation& operation : operations) operation.on_complete(callback);
    for (const Operation& operation : operations) operation.wait();
    // A waiter may be woken before the last callbacks have run.
    for (int i = 0; i < 2000 && count < 20; ++i) std::this_thread::sleep_for(milliseconds(5));
    std::this_thread::sleep_for(milliseconds(20));
    EXPECT_EQ(count, 20);
    EXPECT_LE(most, 1);
  });
}

TEST_P(FabricConformance, WaitAnyReturnsWhatCompletesFirst) {
  if (GetParam().alone) GTEST_SKIP() << "needs a second rank";
  run([](Fabric& fabric) {
    if (fabric.rank() == 0) {
      std::vector<Operation> arrivals;
      for (int peer = 1; peer < fabric.size(); ++peer) {
        arrivals.push_back(fabric.recv(peer, case_buffer(4)));
      }
      EXPECT_EQ(wait_any(arrivals, milliseconds(20)), std::nullopt);
      fabric.post(1, Bytes(1));
      EXPECT_EQ(wait_any(arrivals, seconds(20)), 0U);
      for (int peer = 2; peer < fabric.size(); ++peer) fabric.post(peer, Bytes(1));
      for (const Operation& arrival : arrivals) arrival.wait();
    } else {
      std::atomic<bool> go{false};
      fabric.set_mail_handler([&](int, Bytes) { go = true; });
      while (!go) std::this_thread::sleep_for(milliseconds(1));
      fabric.set_mail_handler(nullptr);
      fabric.send(0, case_buffer(4)).wait();
    }
  });
}

TEST_P(FabricConformance, CountsBytesAndMessagesPerPeer) {
  if (GetParam().alone) GTEST_SKIP() << "needs a second rank";
  run([](Fabric& fabric) {
    const std::vector<PeerTraffic> before = fabric.traffic();
    exchange_messages(fabric, {{0, 1, 1000, 1}, {0, 1, 24, 2}, {1, 0, 5, 3}});
    const std::vector<PeerTraffic> after = fabric.traffic();
    const auto delta = [&](int peer, auto member) {
      return after[std::size_t(peer)].*member - before[std::size_t(peer)].*member;
    };
    if (fabric.rank() == 0) {
      EXPECT_EQ(delta(1, &PeerTraffic::bytes_sent), 1024U);
      EXPECT_EQ(delta(1, &PeerTraffic::messages_sent), 2U);
      EXPECT_EQ(delta(1, &PeerTraffic::bytes_received), 5U);
      EXPECT_EQ(delta(1, &PeerTraffic::messages_received), 1U);
    } else if (fabric.rank() == 1) {
      EXPECT_EQ(delta(0, &PeerTraffic::bytes_received), 1024U);
      EXPECT_EQ(delta(0, &PeerTraffic::messages_sent), 1U);
    }
  });
}

TEST_P(FabricConformance, RefusesPeersThatDoNotExistAndNestedGroups) {
  run([](Fabric& fabric) {
    EXPECT_THROW(fabric.send(fabric.size(), case_buffer(1)), Error);
    EXPECT_THROW(fabric.recv(-1, case_buffer(1)), Error);
    Group group(fabric);
    EXPECT_THROW(fabric.begin_group(), Error);
    group.end();
    EXPECT_THROW(fabric.end_group(), Error);
  });
}

}  // namespace
}  // namespace seamwright::comm::conformance
