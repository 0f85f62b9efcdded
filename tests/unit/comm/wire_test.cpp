#include "comm/wire.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "comm/liveness.h"
#include "comm/signal.h"

namespace seamwright::comm {
namespace {

using std::chrono::seconds;

TEST(MailEnvelope, RestoresKindTagAndBody) {
  const Bytes body = {std::byte{1}, std::byte{2}};
  const auto mail = wire::decode(wire::encode(wire::Kind::kCollective, 1234567890123ULL, body));
  ASSERT_TRUE(mail.has_value());
  EXPECT_EQ(mail->kind, wire::Kind::kCollective);
  EXPECT_EQ(mail->tag, 1234567890123ULL);
  EXPECT_EQ(mail->body, body);
}

TEST(MailEnvelope, RefusesBytesThatAreNoMail) {
  EXPECT_FALSE(wire::decode({}).has_value());
  EXPECT_FALSE(wire::decode(Bytes(8)).has_value());
  EXPECT_FALSE(wire::decode(Bytes(9)).has_value());  // kind 0
  EXPECT_FALSE(wire::decode(Bytes(9, std::byte{200})).has_value());
}

TEST(MailEnvelope, PackedPartsComeBackAndDamageIsFound) {
  const std::vector<Bytes> parts = {Bytes(3, std::byte{7}), {}, Bytes(1, std::byte{9})};
  Bytes packed = wire::pack(parts);
  EXPECT_EQ(wire::unpack(packed), parts);
  EXPECT_TRUE(wire::unpack(wire::pack({})).empty());
  packed.pop_back();
  EXPECT_THROW(wire::unpack(packed), Error);
  EXPECT_THROW(wire::unpack(Bytes(4)), Error);
  EXPECT_THROW(wire::unpack(Bytes(8, std::byte{255})), Error);  // absurd count
}

class LivenessClock : public testing::Test {
 protected:
  Liveness::Time at(double s) const {
    return start_ +
           std::chrono::duration_cast<Liveness::Duration>(std::chrono::duration<double>(s));
  }
  Liveness::Time start_ = Liveness::Time{} + seconds(1000);
};

TEST_F(LivenessClock, RankZeroWatchesAllAndAllWatchRankZero) {
  Liveness root(0, 4, seconds(1), seconds(5), start_);
  Liveness other(2, 4, seconds(1), seconds(5), start_);
  EXPECT_EQ(root.due(at(0)), (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(other.due(at(0)), (std::vector<int>{0}));
  EXPECT_TRUE(root.due(at(0.5)).empty());
  EXPECT_EQ(other.due(at(1.0)), (std::vector<int>{0}));
}

TEST_F(LivenessClock, SilenceBeyondTheLimitIsLoss) {
  Liveness root(0, 3, seconds(1), seconds(5), start_);
  for (int s = 0; s <= 5; ++s) {
    root.due(at(s));
    root.heard(1, at(s));
    EXPECT_EQ(root.lost(at(s)), std::nullopt);
  }
  EXPECT_EQ(root.lost(at(5.1)), 2);  // never heard from
  root.heard(2, at(5.2));
  EXPECT_EQ(root.lost(at(5.3)), std::nullopt);
}

TEST_F(LivenessClock, ARankThatWasItselfStoppedBlamesNobodyAtOnce) {
  Liveness root(0, 2, seconds(1), seconds(5), start_);
  root.due(at(0));
  root.due(at(60));  // stopped for a minute
  EXPECT_EQ(root.lost(at(60)), std::nullopt);
  for (int s = 61; s <= 65; ++s) root.due(at(s));
  EXPECT_EQ(root.lost(at(65.5)), 1);
}

TEST_F(LivenessClock, ZeroLimitTurnsItOffAndTooTightALimitIsRefused) {
  Liveness off(0, 2, seconds(1), seconds(0), start_);
  EXPECT_TRUE(off.due(at(1)).empty());
  EXPECT_EQ(off.lost(at(1000)), std::nullopt);
  EXPECT_THROW(Liveness(0, 2, seconds(1), seconds(1), start_), Error);
}

TEST(Signal, AnEventBetweenLookAndWaitIsNotLost) {
  Signal signal;
  const std::uint64_t seen = signal.epoch();
  signal.notify();
  EXPECT_TRUE(signal.wait_past(seen, Signal::Clock::time_point::max()));
}

TEST(Signal, GivesUpAtTheDeadline) {
  for (const auto spin : {std::chrono::microseconds(0), std::chrono::microseconds(200)}) {
    Signal signal(spin);
    EXPECT_FALSE(
        signal.wait_past(signal.epoch(), Signal::deadline_after(std::chrono::milliseconds(5))));
  }
  EXPECT_EQ(Signal::deadline_after(std::chrono::nanoseconds::max()),
            Signal::Clock::time_point::max());
}

}  // namespace
}  // namespace seamwright::comm
