#include "comm/wire.h"

#include <cstring>

#include "base/error.h"

namespace seamwright::comm::wire {
namespace {

// All ranks run the same binary on the same kind of machine (the gang compares fingerprints), so
// numbers travel in native byte order.
constexpr std::size_t kHeaderBytes = 1 + sizeof(std::uint64_t);

void append_u64(Bytes& out, std::uint64_t value) {
  const std::size_t at = out.size();
  out.resize(at + sizeof(value));
  std::memcpy(out.data() + at, &value, sizeof(value));
}

}  // namespace

Bytes encode(Kind kind, std::uint64_t tag, std::span<const std::byte> body) {
  Bytes out;
  out.reserve(kHeaderBytes + body.size());
  out.push_back(static_cast<std::byte>(kind));
  append_u64(out, tag);
  out.insert(out.end(), body.begin(), body.end());
  return out;
}

std::optional<Mail> decode(Bytes bytes) {
  if (bytes.size() < kHeaderBytes) return std::nullopt;
  const auto kind = static_cast<std::uint8_t>(bytes.front());
  if (kind < 1 || kind > static_cast<std::uint8_t>(Kind::kBye)) return std::nullopt;
  Mail mail;
  mail.kind = static_cast<Kind>(kind);
  std::memcpy(&mail.tag, bytes.data() + 1, sizeof(mail.tag));
  mail.body.assign(bytes.begin() + kHeaderBytes, bytes.end());
  return mail;
}

std::string to_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::span<const std::byte> from_text(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Bytes pack(std::span<const Bytes> parts) {
  Bytes out;
  append_u64(out, parts.size());
  for (const Bytes& part : parts) append_u64(out, part.size());
  for (const Bytes& part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

std::vector<Bytes> unpack(std::span<const std::byte> bytes) {
  const auto take_u64 = [&] {
    if (bytes.size() < sizeof(std::uint64_t)) fail(ErrorCode::kCorrupt, "packed bytes end early");
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data(), sizeof(value));
    bytes = bytes.subspan(sizeof(value));
    return value;
  };
  const std::uint64_t count = take_u64();
  if (count > bytes.size() / sizeof(std::uint64_t)) {
    fail(ErrorCode::kCorrupt, "packed bytes announce {} parts in {} bytes", count, bytes.size());
  }
  std::vector<std::uint64_t> sizes;
  for (std::uint64_t i = 0; i < count; ++i) sizes.push_back(take_u64());
  std::vector<Bytes> parts;
  for (const std::uint64_t size : sizes) {
    if (size > bytes.size()) fail(ErrorCode::kCorrupt, "packed bytes end early");
    parts.emplace_back(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    bytes = bytes.subspan(size);
  }
  return parts;
}

}  // namespace seamwright::comm::wire
