// Conformance: abort, loss, close.
#include <atomic>
#include <thread>

#include "tests/unit/comm/fabric_cases.h"
#include "tests/unit/comm/fabric_conformance.h"

namespace seamwright::comm::conformance {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

void expect_gone(const Error& error, const std::string& words) {
  EXPECT_EQ(error.code(), ErrorCode::kUnavailable) << error.what();
  EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
}

TEST_P(FabricEnding, AbortWakesEveryBlockedCallerOnEveryRank) {
  run([](Fabric& fabric) {
    if (fabric.rank() == 0) {
      Operation mine;  // from a rank that is about to block elsewhere
      if (fabric.size() > 2) mine = fabric.recv(fabric.size() - 1, case_buffer(8));
      report_ready(fabric, 0);
      std::this_thread::sleep_for(milliseconds(50));  // let the others block
      fabric.abort("disk full");
      if (fabric.size() > 2) expect_gone(error_of([&] { mine.wait(); }), "disk full");
    } else if (fabric.rank() == 1) {
      // A receive that nobody sends, then a send that nobody receives, behind it.
      const Operation received = fabric.recv(0, case_buffer(8));
      const Operation sent = fabric.send(0, case_buffer(8 << 20));
      report_ready(fabric, 0);
      expect_gone(error_of([&] { received.wait(); }), "disk full");
      expect_gone(error_of([&] { sent.wait(); }), "disk full");
      EXPECT_NE(received.error(), nullptr);
    } else {
      report_ready(fabric, 0);
      expect_gone(error_of([&] { fabric.barrier(); }), "disk full");
    }
    EXPECT_TRUE(fabric.aborted().has_value());
  });
}

TEST_P(FabricEnding, AbortFailsCallbacksAndWaitAny) {
  if (GetParam().alone) GTEST_SKIP() << "needs a second rank";
  run([](Fabric& fabric) {
    const Operation never = fabric.recv((fabric.rank() + 1) % fabric.size(), case_buffer(8));
    std::atomic<bool> called{false};
    std::atomic<bool> hook{false};
    fabric.on_abort([&](const Error&) { hook = true; });
    never.on_complete([&](const Error* error) { called = error != nullptr; });
    report_ready(fabric, 0);
    if (fabric.rank() == 0) fabric.abort("enough");
    const std::vector<Operation> waiting = {never};
    EXPECT_EQ(wait_any(waiting, seconds(20)), 0U);
    expect_gone(error_of([&] { never.test(); }), "enough");
    for (int i = 0; i < 2000 && !(called && hook); ++i) {
      std::this_thread::sleep_for(milliseconds(5));
    }
    EXPECT_TRUE(called);
    EXPECT_TRUE(hook);
  });
}

TEST_P(FabricEnding, ReuseAfterAbortIsRefused) {
  run([](Fabric& fabric) {
    report_ready(fabric, fabric.size() - 1);
    if (fabric.rank() == fabric.size() - 1) fabric.abort("over");
    while (!fabric.aborted()) std::this_thread::sleep_for(milliseconds(1));
    const int peer = (fabric.rank() + 1) % fabric.size();
    expect_gone(error_of([&] { fabric.send(peer, case_buffer(1)); }), "over");
    expect_gone(error_of([&] { fabric.recv(peer, case_buffer(1)); }), "over");
    expect_gone(error_of([&] { fabric.post(peer, Bytes(1)); }), "over");
    expect_gone(error_of([&] { fabric.barrier(); }), "over");
    expect_gone(error_of([&] { fabric.begin_group(); }), "over");
    fabric.abort("again");  // the first reason stays
    EXPECT_NE(std::string(fabric.aborted()->what()).find("over"), std::string::npos);
  });
}

TEST_P(FabricEnding, SizesThatDisagreeEndTheGang) {
  if (GetParam().alone) GTEST_SKIP() << "needs a second rank";
  run([](Fabric& fabric) {
    Operation mine;
    if (fabric.rank() == 0) mine = fabric.send(1, case_buffer(1 << 20));
    if (fabric.rank() == 1) mine = fabric.recv(0, case_buffer((1 << 20) + 1));
    if (fabric.rank() == 1) error_of([&] { mine.wait(); });
    for (int i = 0; i < 4000 && !fabric.aborted(); ++i)
      std::this_thread::sleep_for(milliseconds(5));
    ASSERT_TRUE(fabric.aborted().has_value());
    EXPECT_NE(std::string(fabric.aborted()->what()).find("plans differ"), std::string::npos)
        << fabric.aborted()->what();
  });
}

TEST_P(FabricEnding, DifferentCollectivesEndTheGangInsteadOfHanging) {
  if (GetParam().alone) GTEST_SKIP() << "needs a second rank";
  run([](Fabric& fabric) {
    const Error error = error_of([&] {
      if (fabric.rank() == 0) {
        fabric.barrier();
      } else {
        fabric.all_gather(Bytes(3));
      }
    });
    EXPECT_NE(std::string(error.what()).find("different collective"), std::string::npos)
        << error.what();
  });
}

TEST_P(FabricEnding, ALostPeerEndsTheGang) {
  if (GetParam().alone) GTEST_SKIP() << "needs a second rank";
  run([this](Fabric& fabric) {
    if (fabric.rank() == 1) {
      report_ready(fabric, 1);
      gang_->lose_me(fabric);
      return;
    }
    const Operation never = fabric.recv(1, case_buffer(8));
    report_ready(fabric, 1);
    expect_gone(error_of([&] { never.wait(); }), "rank 1 was lost");
    expect_gone(error_of([&] { fabric.barrier(); }), "rank 1 was lost");
  });
}

TEST_P(FabricEnding, CloseIsABarrierAndThenRefusesUse) {
  run([](Fabric& fabric) {
    exchange_messages(fabric, {{0, fabric.size() - 1, 100, 1}});
    fabric.close();
    EXPECT_TRUE(fabric.closed());
    EXPECT_THROW(fabric.send(0, case_buffer(1)), Error);
    EXPECT_THROW(fabric.barrier(), Error);
    fabric.abort("too late to matter");
    EXPECT_FALSE(fabric.aborted().has_value());
  });
}

}  // namespace
}  // namespace seamwright::comm::conformance
