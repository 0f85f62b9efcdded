// The keeper never makes those wait who bring records or mail.
#include "worker/record_keeper.h"

#include <gtest/gtest.h>

#include <future>

#include "base/error.h"

namespace seamwright::worker {
namespace {

// Takes no record before it is told to.
class SlowStore final : public DurableStore {
 public:
  const DurableState& state() const override { return state_; }
  void keep_interval(int) override {}
  comm::Bytes load_record(RecordKey) override { return {}; }
  void save_record(RecordKey key, comm::Bytes, Acknowledge acknowledge) override {
    go_on.wait();
    saved.push_back(key);
    acknowledge(nullptr);
  }
  void delete_record(RecordKey) override {}
  std::filesystem::path segment_draft(std::int64_t) override { return {}; }
  Segment commit_segment(Segment segment) override { return segment; }
  void note_evaluations(std::int64_t) override {}
  void flush() override {}

  std::shared_future<void> go_on;
  std::vector<RecordKey> saved;

 private:
  DurableState state_;
};

TEST(RecordKeeper, TakesRecordsWhileTheStoreIsBusyAndHandsAllOver) {
  scheduling::PlanRequest request;
  request.windows.frames = 16;
  request.steps = 4;
  request.checkpoint_interval = 1;
  std::promise<void> go_on;
  SlowStore store;
  store.go_on = go_on.get_future().share();
  std::atomic<int> durable = 0;
  {
    RecordKeeper keeper(request, store,
                        {.durable = [&](const std::vector<RecordKey>& keys,
                                        int) { durable += static_cast<int>(keys.size()); },
                         .failed = {}});
    for (int frame = 0; frame < 4; ++frame) keeper.save({frame, 1}, comm::Bytes(8));
    keeper.save({3, 1}, comm::Bytes(8));  // from a second owner
    EXPECT_EQ(keeper.records_saved(), 4);
    EXPECT_TRUE(store.saved.empty());
    go_on.set_value();
  }
  EXPECT_EQ(store.saved, (std::vector<RecordKey>{{0, 1}, {1, 1}, {2, 1}, {3, 1}}));
}

// Ended by a stop while records still wait for their turn.
class EndedStore final : public DurableStore {
 public:
  const DurableState& state() const override { return state_; }
  void keep_interval(int) override {}
  comm::Bytes load_record(RecordKey) override { return {}; }
  void save_record(RecordKey, comm::Bytes, Acknowledge) override {
    fail(ErrorCode::kCancelled, "stopped: cancel");
  }
  void delete_record(RecordKey) override {}
  std::filesystem::path segment_draft(std::int64_t) override { return {}; }
  Segment commit_segment(Segment segment) override { return segment; }
  void note_evaluations(std::int64_t) override {}
  void flush() override {}

 private:
  DurableState state_;
};

// A task waits until its records are durable: one that never will be has to be told of.
TEST(RecordKeeper, SaysThatARecordWasNotTakenBecauseOfAStop) {
  scheduling::PlanRequest request;
  request.windows.frames = 16;
  request.steps = 4;
  request.checkpoint_interval = 1;
  EndedStore store;
  std::promise<ErrorCode> told;
  RecordKeeper keeper(request, store,
                      {.durable = [](const std::vector<RecordKey>&, int) {},
                       .failed = [&](const Error& e) { told.set_value(e.code()); }});
  keeper.save({0, 1}, comm::Bytes(8));
  keeper.save({1, 1}, comm::Bytes(8));
  auto code = told.get_future();
  ASSERT_EQ(code.wait_for(std::chrono::minutes(2)), std::future_status::ready);
  EXPECT_EQ(code.get(), ErrorCode::kCancelled);
}

}  // namespace
}  // namespace seamwright::worker
