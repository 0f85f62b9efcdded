// The messages of a rank: started in the one global order, by whichever thread comes first; and
// what a stop leaves of them.
#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "base/error.h"
#include "worker/rank_engine.h"

namespace seamwright::worker {

using scheduling::Message;

// What a message waits for is a task of this rank, at either end.
bool RankEngine::message_may_go() const {
  if (failure_ || stopping_ || messages_.empty()) return false;
  const Message& next = messages_.front();
  return done_position_ >= (next.source == rank_ ? next.produced_by : next.receive_after);
}

// Gathers what would keep a task from starting, and plans ahead.
void RankEngine::help() {
  try {
    while (true) {
      {
        std::unique_lock lock(mutex_);
        const auto over = [this] {
          return failure_ || stopping_ || (tasks_ended_ && messages_.empty() && plan_ended_);
        };
        helper_wakes_.wait(
            lock, [&] { return over() || (!issuing_ && message_may_go()) || plan_wanted(); });
        if (over()) return;
      }
      issue_messages(Who::kHelper);
      bool plan = false;
      {
        const std::lock_guard lock(mutex_);
        plan = plan_wanted();
      }
      if (plan) refill();
    }
  } catch (...) {
    fail_with(std::current_exception());
  }
}

// The task thread leaves to the helper what takes long to start: the next task may begin meanwhile.
void RankEngine::issue_messages(Who who) {
  constexpr std::int64_t kLarge = std::int64_t{2} << 20;
  std::unique_lock lock(mutex_);
  // The thread that is at it looks again before it ends.
  while (!issuing_ && message_may_go()) {
    const Message& next = messages_.front();
    if (who == Who::kTaskThread && !stays_on_device(next, wire_) &&
        (!in_one_piece(next, wire_) || next.bytes > kLarge)) {
      helper_wakes_.notify_one();
      return;
    }
    const auto message = std::make_shared<const Message>(std::move(messages_.front()));
    messages_.pop_front();
    const bool sending = message->source == rank_;
    auto& issued = sending ? sends_issued_ : receives_issued_;
    const int peer = sending ? message->destination : message->source;
    ++issued[static_cast<std::size_t>(peer)];
    ++in_flight_;
    issued_.push_back(message->index);
    issuing_ = true;
    lock.unlock();
    issue(message);
    lock.lock();
    issuing_ = false;
  }
}

void RankEngine::issue(const SharedMessage& message) {
  try {
    if (message->source == rank_) {
      send_next(message);
    } else {
      receive_next(message);
    }
  } catch (...) {
    // Refused before it began, as by a fabric that was aborted a moment ago: nothing will complete
    // it, and run() must not wait for it.
    const std::lock_guard lock(mutex_);
    --in_flight_;
    issuing_ = false;
    throw;
  }
}

namespace {

using End = std::function<void(const Error*)>;

// One of several ends: the last of them ends the whole, with an error if any had one.
End last_of(std::size_t count, End whole) {
  struct Ends {
    std::mutex mutex;
    std::size_t left;
    std::optional<Error> failure;
  };
  auto ends = std::make_shared<Ends>();
  ends->left = count;
  return [ends, whole = std::move(whole)](const Error* error) {
    {
      const std::lock_guard lock(ends->mutex);
      if (error != nullptr && !ends->failure) ends->failure = *error;
      if (--ends->left > 0) return;
    }
    whole(ends->failure ? &*ends->failure : nullptr);
  };
}

// Starts all parts, with `start(i)`; what cannot be started any more ends with the reason.
template <class Start>
void start_parts(std::size_t count, const End& whole, const Start& start) {
  ensure(count > 0, "a message between devices has no parts");
  const auto part = last_of(count, whole);
  std::size_t started = 0;
  try {
    for (; started < count; ++started) start(started).on_complete(part);
  } catch (const Error& error) {
    for (; started < count; ++started) part(&error);
  }
}

}  // namespace

void RankEngine::send_parts(const Message& message, std::vector<comm::ConstBuffer> parts,
                            const Done& done) {
  const comm::Stream behind{wire_.backend->stream_behind_work()};
  start_parts(parts.size(), done, [&](std::size_t i) {
    return fabric_->send(message.destination, std::move(parts[i]), behind);
  });
}

void RankEngine::receive_parts(const Message& message, std::vector<comm::Buffer> parts,
                               const Done& done) {
  // What the room held before may still be in use on the device.
  const comm::Stream behind{wire_.backend->stream_behind_work()};
  start_parts(parts.size(), done, [&](std::size_t i) {
    return fabric_->recv(message.source, std::move(parts[i]), behind);
  });
}

void RankEngine::send_next(const SharedMessage& message) {
  bytes_sent_ += message->bytes;
  ++messages_sent_;
  // What is sent is held until then: it may be the very memory that is being read.
  const Done sent = [this, message](const Error* error) {
    if (error == nullptr) {
      try {
        for (const auto& ref : message->data) store_.use(ref.id);
      } catch (...) {
        fail_with(std::current_exception());
      }
    }
    complete(message->index, error);
  };
  if (!stays_on_device(*message, wire_)) {
    fabric_->send(message->destination, pack(*message, store_, wire_)).on_complete(sent);
    return;
  }
  auto parts = device_parts(*message, store_, wire_);
  comm::Group group(*fabric_);
  send_parts(*message, std::move(parts), sent);
  group.end();
}

namespace {

// What a transfer writes to, shared by the copies of its callback. Let go of before the message
// counts as complete: run() may end then, and with it goes the backend whose memory this is.
using Held = std::shared_ptr<std::vector<std::shared_ptr<Datum>>>;
Held hold(std::vector<std::shared_ptr<Datum>> data) {
  return std::make_shared<std::vector<std::shared_ptr<Datum>>>(std::move(data));
}
std::vector<std::shared_ptr<Datum>> let_go(const Held& held) { return std::exchange(*held, {}); }

}  // namespace

// What has come is there for the tasks; `data` in the message's order.
void RankEngine::take(const Message& message, std::vector<std::shared_ptr<Datum>> data) {
  for (std::size_t i = 0; i < data.size(); ++i) store_.put(message.data[i], std::move(data[i]));
}

void RankEngine::receive_next(const SharedMessage& message) {
  const auto received = [this, message](const Error* error, const auto& come) {
    try {
      if (error == nullptr) take(*message, come());
    } catch (...) {
      fail_with(std::current_exception());
    }
    complete(message->index, error);
  };
  if (stays_on_device(*message, wire_)) {
    auto room = make_device_room(*message, wire_);
    const Done arrived = [received, held = hold(std::move(room.data))](const Error* error) {
      auto data = let_go(held);
      if (error != nullptr) data.clear();
      received(error, [&] { return std::move(data); });
    };
    comm::Group group(*fabric_);
    receive_parts(*message, std::move(room.parts), arrived);
    group.end();
    return;
  }
  auto landing = make_room(*message, wire_, *pool_);
  const comm::Buffer room = landing.buffer;
  fabric_->recv(message->source, room)
      .on_complete([this, message, received, landing = std::move(landing)](const Error* error) {
        received(error, [&] { return unpack(*message, landing, wire_, *pool_); });
      });
}

void RankEngine::complete(std::int64_t index, const Error* error) {
  if (error != nullptr) fail_with(std::make_exception_ptr(*error));
  const std::lock_guard lock(mutex_);
  completed_.insert(index);
  while (!issued_.empty() && completed_.erase(issued_.front()) > 0) {
    watermark_ = issued_.front();
    issued_.pop_front();
  }
  --in_flight_;
  if (in_flight_ == 0 || (awaiting_ != nullptr && inputs_there(*awaiting_))) {
    task_wakes_.notify_all();
  }
}

bool RankEngine::is_complete(std::int64_t index) const {
  return index <= watermark_ || completed_.contains(index);
}

// Messages between two ranks are matched in order, so that counts say which of them one end has
// issued alone: the other end completes those with bytes that mean nothing.
bool RankEngine::settle(bool finished) {
  // Whoever has done all its tasks has also issued all its messages.
  const double unfinished = finished ? 0 : 1;
  const auto all_unfinished = fabric_->all_reduce(std::span(&unfinished, 1), comm::Reduction::kSum);
  if (all_unfinished.front() == 0) return true;
  const auto size = static_cast<std::size_t>(fabric_->size());
  std::vector<std::int64_t> own = {finished ? 1 : 0};
  own.insert(own.end(), sends_issued_.begin(), sends_issued_.end());
  own.insert(own.end(), receives_issued_.begin(), receives_issued_.end());
  const auto all = fabric_->all_gather(std::as_bytes(std::span(own)));
  bool everyone = true;
  // At once: a transport that runs messages one after the other must not wait for a peer that is at
  // another of them.
  std::optional<comm::Group> group;
  if (wire_.device_messages) group.emplace(*fabric_);
  for (std::size_t peer = 0; peer < size; ++peer) {
    std::vector<std::int64_t> theirs(own.size());
    ensure(all[peer].size() == own.size() * sizeof(std::int64_t), "rank {} settles otherwise",
           peer);
    std::memcpy(theirs.data(), all[peer].data(), all[peer].size());
    everyone = everyone && theirs[0] != 0;
    const auto me = static_cast<std::size_t>(rank_);
    complete_for(static_cast<int>(peer), theirs[1 + size + me] - sends_issued_[peer],
                 theirs[1 + me] - receives_issued_[peer]);
  }
  if (group) group->end();
  return everyone;
}

void RankEngine::complete_for(int peer, std::int64_t sends, std::int64_t receives) {
  const auto ended = [this](const Error* error) {
    if (error != nullptr) fail_with(std::make_exception_ptr(*error));
    const std::lock_guard lock(mutex_);
    --in_flight_;
    task_wakes_.notify_all();
  };
  for (const bool sending : {true, false}) {
    for (auto left = sending ? sends : receives; left > 0; --left) {
      const auto message = next_with(peer, sending);
      ensure(message.has_value(), "rank {} waits for a message that rank {} has not planned", peer,
             rank_);
      {
        const std::lock_guard lock(mutex_);
        ++in_flight_;
      }
      try {
        if (stays_on_device(*message, wire_)) {
          auto room = make_device_room(*message, wire_);
          room.data.clear();  // the parts hold what they need
          if (sending) {
            send_parts(*message, {room.parts.begin(), room.parts.end()}, ended);
          } else {
            receive_parts(*message, std::move(room.parts), ended);
          }
          continue;
        }
        const auto buffer = comm::allocate_buffer(static_cast<std::size_t>(message->bytes));
        auto operation = sending ? fabric_->send(peer, buffer) : fabric_->recv(peer, buffer);
        operation.on_complete([ended, buffer](const Error* error) { ended(error); });
      } catch (...) {
        const std::lock_guard lock(mutex_);
        --in_flight_;
        throw;
      }
    }
  }
}

// The next message to or from the peer that was not issued; the helper has ended.
std::optional<Message> RankEngine::next_with(int peer, bool sending) {
  while (true) {
    for (auto at = messages_.begin(); at != messages_.end(); ++at) {
      const bool to_peer = at->source == rank_ && at->destination == peer;
      const bool from_peer = at->destination == rank_ && at->source == peer;
      if (!(sending ? to_peer : from_peer)) continue;
      auto message = std::move(*at);
      messages_.erase(at);
      return message;
    }
    if (!refill()) return std::nullopt;
  }
}

}  // namespace seamwright::worker
