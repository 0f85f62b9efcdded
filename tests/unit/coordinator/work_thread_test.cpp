// The one thread that changes anything: what shares a commit, and what does not.
#include "coordinator/service/work_thread.h"

#include <gtest/gtest.h>

#include <future>

#include "base/error.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright::coordinator {
namespace {

class WorkThreadTest : public testing::Test {
 protected:
  JobRecord job(const std::string& id, std::int64_t arrival) {
    JobRecord record;
    record.view.id = id;
    record.arrival = arrival;
    return record;
  }
  // What came of it: "" or the error.
  std::future<std::string> post(WorkThread::Work work, bool retry = false) {
    auto promise = std::make_shared<std::promise<std::string>>();
    thread.post(std::move(work), {.urgent = true, .retry = retry, .done = [promise](auto error) {
                                    try {
                                      if (error) std::rethrow_exception(error);
                                      promise->set_value("");
                                    } catch (const std::exception& e) {
                                      promise->set_value(e.what());
                                    }
                                  }});
    return promise->get_future();
  }

  media::TemporaryFolder folder;
  JobStore store{folder / "jobs.db"};
  JobTable table;
  std::shared_ptr<EventHub> hub = std::make_shared<EventHub>();
  Ledger ledger{store, table, *hub};
  WorkThread thread{ledger, [](Ledger&) {}, std::chrono::milliseconds(10)};
};

TEST_F(WorkThreadTest, OneThatCannotBeStoredTakesNobodyAlong) {
  auto good = post([&](Ledger& l) { l.create(job("video_a", 1)); });
  auto bad = post([&](Ledger& l) {
    l.create(job("video_b", 2));
    l.write([](JobStore& s) { s.put_attempt({"video_none", 1, "g", 1, 0, ""}); });
  });
  // Tried again for ever, it would block everything else.
  auto stubborn =
      post([](Ledger& l) { l.write([](JobStore&) { throw std::logic_error("no"); }); }, true);
  auto late = post([&](Ledger& l) { l.create(job("video_c", 3)); });
  thread.start();  // all in one batch
  EXPECT_EQ(good.get(), "");
  EXPECT_NE(bad.get(), "");
  EXPECT_EQ(stubborn.get(), "no");
  EXPECT_EQ(late.get(), "");
  EXPECT_NE(table.find("video_a"), nullptr);
  EXPECT_EQ(table.find("video_b"), nullptr);
  EXPECT_EQ(thread.trouble(), "");
  thread.stop();
  EXPECT_EQ(store.jobs().size(), 2U);
}

TEST_F(WorkThreadTest, WhatTheDiskRefusesIsTriedAgain) {
  int tries = 0;
  auto work = post(
      [&](Ledger& l) {
        l.write([&](JobStore&) {
          if (++tries < 2) fail(ErrorCode::kResource, "the disk is full");
        });
      },
      true);
  auto other = post([&](Ledger& l) { l.create(job("video_a", 1)); });
  thread.start();
  EXPECT_EQ(other.get(), "the disk is full");
  EXPECT_EQ(work.get(), "");
  EXPECT_EQ(tries, 2);
}

}  // namespace
}  // namespace seamwright::coordinator
