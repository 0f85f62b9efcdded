// What a message carries, and what of it is copied.
#include "worker/wire_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace seamwright::worker {
namespace {

using scheduling::DataId;
using scheduling::DataKind;
using scheduling::Message;

constexpr std::size_t kFrame = 4;
constexpr int kWindow = 6;

WireContext context() {
  WireContext wire;
  wire.frame_size = kFrame;
  return wire;
}

std::shared_ptr<Datum> counting(std::size_t values, float from) {
  auto datum = std::make_shared<Datum>();
  datum->values.resize(values);
  std::iota(datum->values.begin(), datum->values.end(), from);
  return datum;
}

Message prediction_message(std::vector<int> positions) {
  Message message;
  const auto bytes = static_cast<std::int64_t>(positions.size() * kFrame * sizeof(float));
  message.data = {{{DataKind::kPrediction, 3, 1}, bytes, 1}};
  message.positions = std::move(positions);
  message.bytes = bytes;
  return message;
}

// Sent and received, without a fabric.
std::vector<std::shared_ptr<Datum>> carry(const Message& message, const DataStore& store,
                                          DatumPool& pool) {
  const auto sent = pack(message, store, context());
  const auto landing = make_room(message, context(), pool);
  EXPECT_EQ(sent.bytes.size(), landing.buffer.bytes.size());
  std::ranges::copy(sent.bytes, landing.buffer.bytes.begin());
  return unpack(message, landing, context(), pool);
}

TEST(WireData, WhatIsOnePieceIsSentFromWhereItLies) {
  DataStore store;
  const auto held = counting(kWindow * kFrame, 0);
  store.put({{DataKind::kPrediction, 3, 1}, kWindow * kFrame * sizeof(float), 1}, held);
  const auto message = prediction_message({4, 5});
  EXPECT_TRUE(in_one_piece(message, context()));
  const auto sent = pack(message, store, context());
  EXPECT_EQ(static_cast<const void*>(sent.bytes.data()), held->values.data() + 4 * kFrame);
  const auto pool = DatumPool::make();
  const auto got = carry(message, store, *pool);
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0]->positions, message.positions);
  EXPECT_TRUE(std::ranges::equal(got[0]->row(5, kFrame), held->row(5, kFrame)));
}

TEST(WireData, WhatIsInPiecesIsGathered) {
  DataStore store;
  const auto held = counting(kWindow * kFrame, 0);
  store.put({{DataKind::kPrediction, 3, 1}, kWindow * kFrame * sizeof(float), 1}, held);
  const auto message = prediction_message({0, 1, 4, 5});
  EXPECT_FALSE(in_one_piece(message, context()));
  const auto pool = DatumPool::make();
  const auto got = carry(message, store, *pool);
  ASSERT_EQ(got.size(), 1U);
  for (const int position : message.positions) {
    EXPECT_TRUE(std::ranges::equal(got[0]->row(position, kFrame), held->row(position, kFrame)));
  }
}

TEST(WireData, SeveralFramesTravelTogether) {
  DataStore store;
  Message message;
  for (int frame = 0; frame < 3; ++frame) {
    const DataId id{DataKind::kState, frame, 2};
    store.put({id, kFrame * sizeof(float), 1}, counting(kFrame, static_cast<float>(10 * frame)));
    message.data.push_back({id, kFrame * sizeof(float), 1});
    message.bytes += static_cast<std::int64_t>(kFrame * sizeof(float));
  }
  const auto pool = DatumPool::make();
  const auto got = carry(message, store, *pool);
  ASSERT_EQ(got.size(), 3U);
  for (int frame = 0; frame < 3; ++frame) {
    EXPECT_EQ(got[static_cast<std::size_t>(frame)]->values,
              store.get({DataKind::kState, frame, 2})->values);
  }
}

TEST(DatumPool, HandsOutAgainWhatWasLetGo) {
  const auto pool = DatumPool::make(1);
  auto first = pool->take(8);
  first->positions = {1, 2};
  const auto* memory = first->values.data();
  EXPECT_NE(pool->take(8)->values.data(), memory);  // in use; this one is kept instead
  first.reset();                                    // one too many
  const auto second = pool->take(8);
  EXPECT_TRUE(second->positions.empty());
  EXPECT_EQ(second->values.size(), 8U);
  EXPECT_EQ(pool->take(4)->values.size(), 4U);
}

}  // namespace
}  // namespace seamwright::worker
