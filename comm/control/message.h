// Messages of the control link as bytes: encoding, and a parser that knows no sockets.
// Threads: one parser per thread; the rest is pure.
//
// docs/formats/control-messages.md describes the bytes.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>

#include "comm/buffer.h"

namespace seamwright::comm {

// A JSON object with a string "type", and bytes that JSON would only bloat (frames, checkpoints).
struct ControlMessage {
  nlohmann::json header = nlohmann::json::object();
  Bytes payload;

  std::string type() const { return header.at("type").get<std::string>(); }
};

// A peer that announces more is cut off before it can make us allocate it.
struct ControlLimits {
  std::size_t header_bytes = std::size_t{1} << 20U;
  std::size_t payload_bytes = std::size_t{256} << 20U;
  int header_depth = 16;  // nesting of the JSON
};

inline constexpr std::size_t kControlPrefixBytes = 16;

// The prefix and the header as bytes; the payload follows them on the wire as it is. Bytes of texts
// that are not UTF-8 become U+FFFD. Throws kInvalidArgument if the
// message has no type or goes beyond the limits.
Bytes encode_control_head(const ControlMessage& message, const ControlLimits& limits = {});

// Bytes in, messages out. After an error the parser must not be used again: the stream has lost its
// boundaries, so the connection has to be closed.
class ControlParser {
 public:
  explicit ControlParser(const ControlLimits& limits = {}) : limits_(limits) {}

  // For the next message on; a connection raises them once its peer has proved who it is.
  void set_limits(const ControlLimits& limits) { limits_ = limits; }
  // Takes bytes from the front of `bytes` until a message is complete or none are left. Throws
  // kCorrupt on anything that is not a message.
  std::optional<ControlMessage> feed(std::span<const std::byte>& bytes);
  // True between two messages, where a stream may end.
  bool at_boundary() const { return prefix_.empty(); }

 private:
  bool fill(Bytes& target, std::size_t size, std::span<const std::byte>& bytes);
  void read_prefix();
  void read_header();

  ControlLimits limits_;
  Bytes prefix_;
  Bytes header_;
  bool header_read_ = false;
  std::size_t header_size_ = 0;
  std::size_t payload_size_ = 0;
  ControlMessage message_;
};

}  // namespace seamwright::comm
