// A gang is given up when a rank's task takes far too long, and not before.
#include "worker/progress_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "comm/loopback/loopback.h"

namespace seamwright::worker {
namespace {

using namespace std::chrono_literals;
using scheduling::PlannedTask;
using scheduling::TaskKind;
using ::testing::HasSubstr;

PlannedTask forward(int window) {
  PlannedTask task;
  task.task.kind = TaskKind::kForward;
  task.task.window = window;
  task.task.step = 2;
  return task;
}

WatchLimits quick() {
  WatchLimits limits;
  limits.interval = 5ms;
  limits.at_least = 100ms;
  limits.grace = 2000ms;
  return limits;
}

TEST(ProgressWatch, GivesUpATaskThatTakesFarLongerThanSuchTasks) {
  std::promise<std::string> hung;
  ProgressWatch watch(
      quick(), nullptr,
      {.hung = [&](const Error& error) { hung.set_value(error.what()); }, .forwards = {}});
  watch.starts(forward(0));
  watch.done(forward(0));
  watch.starts(forward(1));
  auto result = hung.get_future();
  ASSERT_EQ(result.wait_for(10s), std::future_status::ready);
  EXPECT_THAT(result.get(),
              HasSubstr("rank 0 was lost (it has been at forward of window 1 at step"));
}

TEST(ProgressWatch, GivesTheFirstTaskOfAKindMoreTime) {
  std::atomic<bool> hung = false;
  ProgressWatch watch(quick(), nullptr,
                      {.hung = [&](const Error&) { hung = true; }, .forwards = {}});
  watch.starts(forward(0));
  std::this_thread::sleep_for(300ms);
  EXPECT_FALSE(hung);
  watch.done(forward(0));
  std::this_thread::sleep_for(300ms);  // it waits for others, which is no fault of its own
  EXPECT_FALSE(hung);
}

TEST(ProgressWatch, GivesUpWhenEveryRankOnlyWaits) {
  auto limits = quick();
  limits.grace = 100ms;
  std::promise<std::string> hung;
  ProgressWatch watch(
      limits, nullptr,
      {.hung = [&](const Error& error) { hung.set_value(error.what()); }, .forwards = {}});
  auto result = hung.get_future();
  ASSERT_EQ(result.wait_for(10s), std::future_status::ready);
  EXPECT_THAT(result.get(), HasSubstr("every rank has waited"));
}

TEST(ProgressWatch, SeesOtherRanksThroughTheirMail) {
  comm::LoopbackGang gang(2);
  std::promise<std::string> hung;
  std::atomic<std::int64_t> forwards = 0;
  ProgressWatch zero(quick(), &gang.fabric(0),
                     {.hung = [&](const Error& error) { hung.set_value(error.what()); },
                      .forwards = [&](std::int64_t count) { forwards = count; }});
  gang.fabric(0).set_mail_handler(
      [&](int from, const comm::Bytes& bytes) { zero.heard(from, decode_gang_mail(bytes)); });
  {
    ProgressWatch one(quick(), &gang.fabric(1), {.hung = {}, .forwards = {}});
    for (int window = 0; window < 3; ++window) {
      one.starts(forward(window));
      one.done(forward(window));
    }
    one.starts(forward(3));
    auto result = hung.get_future();
    ASSERT_EQ(result.wait_for(10s), std::future_status::ready);
    EXPECT_THAT(result.get(), HasSubstr("rank 1 was lost"));
  }
  zero.starts(forward(9));
  zero.done(forward(9));
  EXPECT_EQ(forwards, 4);
  gang.fabric(0).set_mail_handler({});
}

TEST(GangMail, SurvivesTheWireAndRefusesDamage) {
  const GangMail mail{MailKind::kLoaded, {{3, 4}, {5, 6}}, {7}, {std::byte{8}}};
  auto bytes = encode(mail);
  const auto back = decode_gang_mail(bytes);
  EXPECT_EQ(back.kind, MailKind::kLoaded);
  EXPECT_EQ(back.keys, mail.keys);
  EXPECT_EQ(back.numbers, mail.numbers);
  EXPECT_EQ(back.payload, mail.payload);
  for (const std::size_t size : {std::size_t{0}, std::size_t{10}, bytes.size() - 1}) {
    EXPECT_THROW(decode_gang_mail({bytes.begin(), bytes.begin() + static_cast<long>(size)}), Error);
  }
  bytes.push_back(std::byte{0});
  EXPECT_THROW(decode_gang_mail(bytes), Error);
}

TEST(ProgressWatch, SaysThatAllIsWellWhileATaskMayTakeItsTime) {
  std::atomic<int> well = 0;
  std::atomic<bool> hung = false;
  auto limits = quick();
  limits.grace = 300ms;
  ProgressWatch watch(
      limits, nullptr,
      {.hung = [&](const Error&) { hung = true; }, .well = [&] { ++well; }, .forwards = {}});
  watch.starts(forward(0));
  const auto end = std::chrono::steady_clock::now() + 60s;
  while (!hung && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(5ms);
  EXPECT_TRUE(hung);
  const int until_then = well;
  EXPECT_GT(until_then, 0);
  std::this_thread::sleep_for(100ms);
  EXPECT_EQ(well, until_then) << "a hung gang was said to be well";
}

TEST(ProgressWatch, ExpectsNothingOnceTheTasksAreOver) {
  std::atomic<bool> hung = false;
  auto limits = quick();
  limits.grace = 50ms;
  ProgressWatch watch(limits, nullptr,
                      {.hung = [&](const Error&) { hung = true; }, .forwards = {}});
  watch.over();
  std::this_thread::sleep_for(300ms);
  EXPECT_FALSE(hung);
}

TEST(WatchLimits, GiveLongTasksMoreGrace) {
  auto costs = scheduling::uniform_costs({}, 1.0);
  EXPECT_EQ(limits_for(costs).grace, WatchLimits().grace);
  costs.visit_s = {1.0, 300.0};
  EXPECT_EQ(limits_for(costs).grace, 6000s);
}

}  // namespace
}  // namespace seamwright::worker
