// Helpers for fabric cases: buffers with a recognisable pattern, and messages in one global order.
// Threads: values and pure functions.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "base/error.h"
#include "comm/fabric.h"

namespace seamwright::comm::conformance {

// Where the cases' buffers come from: the heap, or memory that a device can reach as well.
inline std::function<Buffer(std::size_t)>& buffer_source() {
  static std::function<Buffer(std::size_t)> source = allocate_buffer;
  return source;
}
inline Buffer case_buffer(std::size_t size) { return buffer_source()(size); }

inline std::uint64_t pattern_word(std::uint64_t key, std::size_t index) {
  return (key * 0x9E3779B97F4A7C15ULL) ^ (index * 0xD1B54A32D192ED03ULL);
}

// Bytes that only this key produces at this size.
inline Buffer pattern_buffer(std::size_t size, std::uint64_t key) {
  Buffer buffer = case_buffer(size);
  for (std::size_t at = 0; at < size; at += 8) {
    const std::uint64_t word = pattern_word(key, at / 8);
    std::memcpy(buffer.bytes.data() + at, &word, std::min<std::size_t>(8, size - at));
  }
  return buffer;
}

inline bool has_pattern(std::span<const std::byte> bytes, std::uint64_t key) {
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    const std::uint64_t word = pattern_word(key, at / 8);
    if (std::memcmp(bytes.data() + at, &word, std::min<std::size_t>(8, bytes.size() - at)) != 0) {
      return false;
    }
  }
  return true;
}

struct Message {
  int from = 0;
  int to = 0;
  std::size_t size = 0;
  std::uint64_t key = 0;
};

// Starts this rank's share of `messages`, in their order, as one group per message with both ends
// here, and waits for all of it.
inline void exchange_messages(Fabric& fabric, const std::vector<Message>& messages) {
  struct Arrival {
    Buffer buffer;
    std::uint64_t key;
  };
  std::vector<Operation> operations;
  std::vector<Arrival> arrivals;
  for (const Message& message : messages) {
    const bool sends = message.from == fabric.rank();
    const bool receives = message.to == fabric.rank();
    if (!sends && !receives) continue;
    Group group(fabric);
    if (sends) {
      operations.push_back(fabric.send(message.to, pattern_buffer(message.size, message.key)));
    }
    if (receives) {
      arrivals.push_back({case_buffer(message.size), message.key});
      operations.push_back(fabric.recv(message.from, arrivals.back().buffer));
    }
    group.end();
  }
  for (const Operation& operation : operations) operation.wait();
  for (const Arrival& arrival : arrivals) {
    EXPECT_TRUE(has_pattern(arrival.buffer.bytes, arrival.key))
        << "rank " << fabric.rank() << ", key " << arrival.key;
  }
}

// Every other rank tells `who` that it got here, and only `who` waits. A barrier will not do: its
// release and the abort that follows race.
inline void report_ready(Fabric& fabric, int who) {
  if (fabric.rank() != who) {
    fabric.post(who, Bytes(1));
    return;
  }
  std::atomic<int> ready{1};
  fabric.set_mail_handler([&](int, Bytes) { ++ready; });
  while (ready < fabric.size()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  fabric.set_mail_handler(nullptr);
}

// Runs `call` and returns the error it must throw.
inline Error error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error was thrown";
  return {ErrorCode::kInternal, "nothing was thrown"};
}

}  // namespace seamwright::comm::conformance
