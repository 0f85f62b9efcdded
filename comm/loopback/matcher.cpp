#include "comm/loopback/matcher.h"

#include <utility>

namespace seamwright::comm {

struct LoopbackBatch {
  struct Item {
    int from = 0;
    int to = 0;
    std::optional<LoopbackSend> send;
    std::optional<LoopbackRecv> recv;
  };
  std::vector<Item> items;  // held until launched; the items then live in the channels
  std::size_t unfinished = 0;
  bool sealed = false;
  bool launched = false;
};

LoopbackMatcher::LoopbackMatcher(int size, bool serial)
    : size_(size),
      serial_(serial),
      lanes_(static_cast<std::size_t>(size)),
      channels_(static_cast<std::size_t>(size) * static_cast<std::size_t>(size)) {}

LoopbackMatcher::Channel& LoopbackMatcher::channel(int from, int to) {
  return channels_[static_cast<std::size_t>(from) * static_cast<std::size_t>(size_) +
                   static_cast<std::size_t>(to)];
}

std::shared_ptr<LoopbackBatch> LoopbackMatcher::batch_for(int rank, bool& single) {
  single = lane(rank).open == nullptr;
  return single ? std::make_shared<LoopbackBatch>() : lane(rank).open;
}

LoopbackMatcher::Matches LoopbackMatcher::add_send(int from, int to, LoopbackSend send,
                                                   std::optional<Error>& refused) {
  std::scoped_lock lock(mutex_);
  Matches matches;
  refused = lane(from).dropped;
  if (refused) return matches;
  bool single = false;
  const auto batch = batch_for(from, single);
  send.batch = batch;
  batch->items.push_back({from, to, std::move(send), std::nullopt});
  if (single) seal(from, batch, matches);
  return matches;
}

LoopbackMatcher::Matches LoopbackMatcher::add_recv(int from, int to, LoopbackRecv recv,
                                                   std::optional<Error>& refused) {
  std::scoped_lock lock(mutex_);
  Matches matches;
  refused = lane(to).dropped;
  if (refused) return matches;
  bool single = false;
  const auto batch = batch_for(to, single);
  recv.batch = batch;
  batch->items.push_back({from, to, std::nullopt, std::move(recv)});
  if (single) seal(to, batch, matches);
  return matches;
}

void LoopbackMatcher::begin_batch(int rank) {
  std::scoped_lock lock(mutex_);
  lane(rank).open = std::make_shared<LoopbackBatch>();
}

LoopbackMatcher::Matches LoopbackMatcher::end_batch(int rank) {
  std::scoped_lock lock(mutex_);
  Matches matches;
  const auto batch = std::exchange(lane(rank).open, nullptr);
  if (batch && !batch->items.empty() && !lane(rank).dropped) seal(rank, batch, matches);
  return matches;
}

void LoopbackMatcher::seal(int rank, const std::shared_ptr<LoopbackBatch>& batch,
                           Matches& matches) {
  batch->unfinished = batch->items.size();
  batch->sealed = true;
  Lane& own = lane(rank);
  own.waiting.push_back(batch);
  if (!serial_ || own.waiting.front() == batch) launch(*batch, matches);
}

void LoopbackMatcher::launch(LoopbackBatch& batch, Matches& matches) {
  batch.launched = true;
  for (LoopbackBatch::Item& item : std::exchange(batch.items, {})) {
    Channel& pair = channel(item.from, item.to);
    if (item.send) pair.sends.push_back(std::move(*item.send));
    if (item.recv) pair.recvs.push_back(std::move(*item.recv));
    match_channel(item.from, item.to, matches);
  }
}

void LoopbackMatcher::match_channel(int from, int to, Matches& matches) {
  Channel& pair = channel(from, to);
  while (!pair.sends.empty() && !pair.recvs.empty()) {
    matches.push_back({from, to, std::move(pair.sends.front()), std::move(pair.recvs.front())});
    pair.sends.pop_front();
    pair.recvs.pop_front();
  }
}

LoopbackMatcher::Matches LoopbackMatcher::finish(const LoopbackMatch& match) {
  std::scoped_lock lock(mutex_);
  Matches matches;
  if (match.send.batch) retire(match.from, *match.send.batch, matches);
  retire(match.to, *match.recv.batch, matches);
  return matches;
}

void LoopbackMatcher::retire(int rank, LoopbackBatch& batch, Matches& matches) {
  --batch.unfinished;
  // In flight together, batches may end in any order; the lane forgets them from the front.
  Lane& own = lane(rank);
  while (!own.waiting.empty() && own.waiting.front()->unfinished == 0) {
    own.waiting.pop_front();
    if (!own.waiting.empty() && !own.waiting.front()->launched) {
      launch(*own.waiting.front(), matches);
    }
  }
}

LoopbackMatcher::Operations LoopbackMatcher::drop(int rank, const Error& error) {
  std::scoped_lock lock(mutex_);
  Operations operations;
  Lane& own = lane(rank);
  if (!own.dropped) own.dropped = error;
  const auto take_items = [&](LoopbackBatch& batch) {
    for (LoopbackBatch::Item& item : std::exchange(batch.items, {})) {
      operations.push_back(item.send ? item.send->operation : item.recv->operation);
    }
  };
  if (own.open) take_items(*own.open);
  for (const auto& batch : own.waiting) take_items(*batch);
  own.waiting.clear();
  for (int peer = 0; peer < size_; ++peer) {
    for (LoopbackSend& send : std::exchange(channel(rank, peer).sends, {})) {
      operations.push_back(send.operation);
    }
    for (LoopbackRecv& recv : std::exchange(channel(peer, rank).recvs, {})) {
      operations.push_back(recv.operation);
    }
  }
  return operations;
}

}  // namespace seamwright::comm
