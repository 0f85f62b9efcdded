#include "comm/control/message.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "base/error.h"

namespace seamwright::comm {
namespace {

// "SWC" and the version of the framing.
constexpr std::array<std::byte, 4> kMagic = {std::byte{'S'}, std::byte{'W'}, std::byte{'C'},
                                             std::byte{1}};

void put_little_endian(Bytes& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<std::byte>(value >> (8 * i)));
}

std::uint64_t get_little_endian(std::span<const std::byte> in) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < in.size(); ++i) {
    value |= static_cast<std::uint64_t>(in[i]) << (8 * i);
  }
  return value;
}

}  // namespace

Bytes encode_control_head(const ControlMessage& message, const ControlLimits& limits) {
  require(message.header.is_object() && message.header.contains("type") &&
              message.header["type"].is_string(),
          "a control message needs a JSON object with a string \"type\"");
  // Texts may come from a peer or a child program: bytes that
  // are not UTF-8 must not stop a message.
  const std::string header =
      message.header.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  require(header.size() <= limits.header_bytes,
          "a control message's header has {} bytes and {} are allowed: move bulk into the payload",
          header.size(), limits.header_bytes);
  require(message.payload.size() <= limits.payload_bytes,
          "a control message's payload has {} bytes and {} are allowed: send it in parts",
          message.payload.size(), limits.payload_bytes);
  Bytes out;
  out.reserve(kControlPrefixBytes + header.size());
  out.insert(out.end(), kMagic.begin(), kMagic.end());
  put_little_endian(out, header.size(), 4);
  put_little_endian(out, message.payload.size(), 8);
  const auto text = std::as_bytes(std::span(header));
  out.insert(out.end(), text.begin(), text.end());
  return out;
}

// Memory grows with what has arrived, not with what was announced.
bool ControlParser::fill(Bytes& target, std::size_t size, std::span<const std::byte>& bytes) {
  const std::size_t take = std::min(size - target.size(), bytes.size());
  target.insert(target.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(take));
  bytes = bytes.subspan(take);
  return target.size() == size;
}

void ControlParser::read_prefix() {
  const std::span<const std::byte> prefix(prefix_);
  if (!std::equal(kMagic.begin(), kMagic.end(), prefix.begin())) {
    fail(ErrorCode::kCorrupt,
         "the peer does not speak this version of the control protocol (a message must begin with "
         "\"SWC\" and version 1)");
  }
  header_size_ = get_little_endian(prefix.subspan(4, 4));
  payload_size_ = get_little_endian(prefix.subspan(8, 8));
  if (header_size_ == 0 || header_size_ > limits_.header_bytes ||
      payload_size_ > limits_.payload_bytes) {
    fail(ErrorCode::kCorrupt,
         "a control message announces {} bytes of header and {} of payload; {} and {} are allowed",
         header_size_, payload_size_, limits_.header_bytes, limits_.payload_bytes);
  }
}

void ControlParser::read_header() {
  using nlohmann::json;
  const auto refuse_depth = [this](int depth, json::parse_event_t, json&) {
    if (depth > limits_.header_depth) {
      fail(ErrorCode::kCorrupt, "a control message's header is nested deeper than {} levels",
           limits_.header_depth);
    }
    return true;
  };
  const std::span<const std::byte> header(header_);
  const auto* text = reinterpret_cast<const char*>(header.data());
  try {
    message_.header = json::parse(text, text + header.size(), refuse_depth);
  } catch (const json::exception& error) {
    fail(ErrorCode::kCorrupt, "a control message's header is not JSON: {}", error.what());
  }
  if (!message_.header.is_object() || !message_.header.contains("type") ||
      !message_.header["type"].is_string()) {
    fail(ErrorCode::kCorrupt,
         "a control message's header must be a JSON object with a string \"type\"");
  }
}

std::optional<ControlMessage> ControlParser::feed(std::span<const std::byte>& bytes) {
  if (prefix_.size() < kControlPrefixBytes) {
    if (!fill(prefix_, kControlPrefixBytes, bytes)) return std::nullopt;
    read_prefix();
  }
  if (!header_read_) {
    if (!fill(header_, header_size_, bytes)) return std::nullopt;
    read_header();
    header_read_ = true;
  }
  if (!fill(message_.payload, payload_size_, bytes)) return std::nullopt;
  ControlMessage message = std::exchange(message_, {});
  prefix_.clear();
  header_.clear();
  header_read_ = false;
  return message;
}

}  // namespace seamwright::comm
