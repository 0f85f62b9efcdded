#include "worker/record_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <limits>
#include <string_view>
#include <type_traits>

namespace seamwright::worker {
namespace {

constexpr std::string_view kMagic = "SWRECORD";
constexpr std::uint32_t kRecordVersion = 1;
constexpr std::string_view kSuffix = ".rec";

template <class Integer>
void append(std::string& out, Integer value) {
  auto bits = static_cast<std::make_unsigned_t<Integer>>(value);
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    out.push_back(static_cast<char>(bits & 0xFFU));
    bits = static_cast<decltype(bits)>(bits >> 4U >> 4U);
  }
}

template <class Integer>
Integer take(std::span<const std::byte> bytes, std::size_t& at) {
  std::make_unsigned_t<Integer> value = 0;
  for (std::size_t i = sizeof(Integer); i-- > 0;) {
    value = static_cast<decltype(value)>((value << 4U << 4U) |
                                         std::to_integer<unsigned>(bytes[at + i]));
  }
  at += sizeof(Integer);
  return static_cast<Integer>(value);
}

std::optional<int> digits(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

}  // namespace

std::string encode_record(const RecordHeader& header, std::span<const std::byte> payload) {
  std::string out;
  out.reserve(kRecordHeaderBytes + payload.size() + kRecordTrailerBytes);
  out += kMagic;
  append(out, kRecordVersion);
  append(out, std::uint32_t{0});
  out.append(reinterpret_cast<const char*>(header.fingerprint.data()), header.fingerprint.size());
  append(out, header.attempt);
  append(out, static_cast<std::int32_t>(header.key.at));
  append(out, static_cast<std::int32_t>(header.key.level));
  append(out, static_cast<std::uint64_t>(payload.size()));
  ensure(out.size() == kRecordHeaderBytes, "a record's header has {} bytes", out.size());
  out.append(reinterpret_cast<const char*>(payload.data()), payload.size());
  const auto sum = sha256(std::as_bytes(std::span(out.data(), out.size())));
  out.append(reinterpret_cast<const char*>(sum.data()), sum.size());
  return out;
}

std::span<const std::byte> decode_record(std::span<const std::byte> bytes,
                                         const RecordHeader& expected) {
  if (bytes.size() < kRecordHeaderBytes + kRecordTrailerBytes ||
      std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) {
    fail(ErrorCode::kCorrupt, "it is not a record, or only the beginning of one ({} bytes)",
         bytes.size());
  }
  std::size_t at = kMagic.size();
  const auto version = take<std::uint32_t>(bytes, at);
  if (version != kRecordVersion) {
    fail(ErrorCode::kCorrupt, "it has version {}, but this program reads version {}", version,
         kRecordVersion);
  }
  at += sizeof(std::uint32_t);
  Sha256Digest fingerprint{};
  std::memcpy(fingerprint.data(), bytes.data() + at, fingerprint.size());
  at += fingerprint.size() + sizeof(std::int64_t);
  RecordKey key;
  key.at = take<std::int32_t>(bytes, at);
  key.level = take<std::int32_t>(bytes, at);
  const auto size = take<std::uint64_t>(bytes, at);
  if (size != bytes.size() - kRecordHeaderBytes - kRecordTrailerBytes) {
    fail(ErrorCode::kCorrupt, "it should hold {} bytes, but has {}", size,
         bytes.size() - kRecordHeaderBytes - kRecordTrailerBytes);
  }
  const auto sum = sha256(bytes.first(bytes.size() - kRecordTrailerBytes));
  if (std::memcmp(sum.data(), bytes.data() + bytes.size() - kRecordTrailerBytes, sum.size()) != 0) {
    fail(ErrorCode::kCorrupt, "its checksum does not fit its content");
  }
  if (fingerprint != expected.fingerprint) {
    fail(ErrorCode::kCorrupt, "it belongs to another job");
  }
  if (key != expected.key) {
    fail(ErrorCode::kCorrupt, "it holds ({}, level {}) instead of ({}, level {})", key.at,
         key.level, expected.key.at, expected.key.level);
  }
  return bytes.subspan(kRecordHeaderBytes, static_cast<std::size_t>(size));
}

std::string record_file_name(RecordKey key) {
  return fmt::format("{:08d}.{:05d}{}", key.at, key.level, kSuffix);
}

std::optional<RecordKey> parse_record_file_name(const std::string& name) {
  const std::string_view text = name;
  const auto dot = text.find('.');
  if (!text.ends_with(kSuffix) || dot == std::string_view::npos ||
      dot + 1 >= text.size() - kSuffix.size()) {
    return std::nullopt;
  }
  const auto at = digits(text.substr(0, dot));
  const auto level = digits(text.substr(dot + 1, text.size() - kSuffix.size() - dot - 1));
  if (!at || !level || record_file_name({*at, *level}) != name) return std::nullopt;
  return RecordKey{*at, *level};
}

}  // namespace seamwright::worker
