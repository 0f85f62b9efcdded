// A durable record as bytes in a file: header, payload, checksum (docs/formats/checkpoint.md).
// Threads: pure functions; safe anywhere.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "worker/durable_store.h"

namespace seamwright::worker {

struct RecordHeader {
  Sha256Digest fingerprint{};  // of the identity it belongs to
  std::int64_t attempt = 0;    // that wrote it
  RecordKey key;
};

inline constexpr std::size_t kRecordHeaderBytes = 72;
inline constexpr std::size_t kRecordTrailerBytes = 32;

std::string encode_record(const RecordHeader& header, std::span<const std::byte> payload);

// The payload inside `bytes`. Throws kCorrupt saying what is wrong: not a record, cut short,
// changed, of another identity or key than `expected` (its attempt is not compared).
std::span<const std::byte> decode_record(std::span<const std::byte> bytes,
                                         const RecordHeader& expected);

// "00000012.00003.rec"; nothing for any other name.
std::string record_file_name(RecordKey key);
std::optional<RecordKey> parse_record_file_name(const std::string& name);

}  // namespace seamwright::worker
