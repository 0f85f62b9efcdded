// A client over a plain socket, for tests that must send exact bytes.
// Threads: one thread.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "media/file_descriptor.h"

namespace seamwright::coordinator::http {

struct RawResponse {
  int status = 0;                              // 0 = the connection ended without an answer
  std::map<std::string, std::string> headers;  // lower case
  std::string body;
  nlohmann::json json() const { return nlohmann::json::parse(body); }
};

class RawClient {
 public:
  explicit RawClient(std::uint16_t port);
  void send(std::string_view bytes);  // ignores a peer that is gone
  RawResponse receive(bool head_only = false);
  // The next bytes of a body that has no end yet, until `mark` is among them or 10 s are over.
  std::string receive_until(std::string_view mark);
  bool closed_by_peer(int within_ms);  // reads and drops until then

 private:
  bool fill(int timeout_ms = 10'000);
  std::string take_line();

  media::FileDescriptor socket_;
  std::string buffer_;
};

// One request on a fresh connection.
RawResponse ask(std::uint16_t port, const std::string& method, const std::string& target,
                const std::string& body = "", const std::string& headers = "");
RawResponse ask_json(std::uint16_t port, const std::string& method, const std::string& target,
                     const nlohmann::json& body, const std::string& headers = "");
std::string request_bytes(const std::string& method, const std::string& target,
                          const std::string& body, const std::string& headers);

}  // namespace seamwright::coordinator::http
