// The envelope of mail between ranks: one kind byte, one tag, the body. Private to comm.
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "comm/buffer.h"

namespace seamwright::comm::wire {

enum class Kind : std::uint8_t { kUser = 1, kCollective, kAbort, kHeartbeat, kBye };

struct Mail {
  Kind kind = Kind::kUser;
  std::uint64_t tag = 0;  // which collective; 0 otherwise
  Bytes body;
};

Bytes encode(Kind kind, std::uint64_t tag, std::span<const std::byte> body);
// nullopt if the bytes are no mail of ours.
std::optional<Mail> decode(Bytes bytes);

std::string to_text(std::span<const std::byte> bytes);
std::span<const std::byte> from_text(std::string_view text);

// A list of byte strings as one byte string, and back (throws kCorrupt).
Bytes pack(std::span<const Bytes> parts);
std::vector<Bytes> unpack(std::span<const std::byte> bytes);

}  // namespace seamwright::comm::wire
