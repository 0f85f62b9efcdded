#include "tests/unit/coordinator/http/raw_client.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <stdexcept>

namespace seamwright::coordinator::http {

RawClient::RawClient(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw std::runtime_error("cannot connect");
  }
}

void RawClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

bool RawClient::fill(int timeout_ms) {
  pollfd wait{socket_.get(), POLLIN, 0};
  if (::poll(&wait, 1, timeout_ms) <= 0) return false;
  char bytes[65536];
  const auto got = ::recv(socket_.get(), bytes, sizeof bytes, 0);
  if (got <= 0) return false;
  buffer_.append(bytes, static_cast<std::size_t>(got));
  return true;
}

std::string RawClient::take_line() {
  while (buffer_.find("\r\n") == std::string::npos) {
    if (!fill()) return {};
  }
  const auto end = buffer_.find("\r\n");
  std::string line = buffer_.substr(0, end);
  buffer_.erase(0, end + 2);
  return line;
}

RawResponse RawClient::receive(bool head_only) {
  RawResponse response;
  const std::string status = take_line();
  if (status.size() < 12) return response;
  response.status = std::stoi(status.substr(9, 3));
  for (std::string line = take_line(); !line.empty(); line = take_line()) {
    std::string name = line.substr(0, line.find(':'));
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    response.headers[name] = line.substr(std::min(line.size(), line.find(':') + 2));
  }
  if (head_only || response.status == 204 || response.status == 304) return response;
  if (response.headers["transfer-encoding"] == "chunked") {
    while (true) {
      const std::size_t size = std::stoul(fmt::format("0{}", take_line()), nullptr, 16);
      while (buffer_.size() < size + 2 && fill()) {
      }
      response.body += buffer_.substr(0, size);
      buffer_.erase(0, size + 2);
      if (size == 0) return response;
    }
  }
  if (!response.headers.contains("content-length")) {
    while (fill()) {
    }
    response.body = std::exchange(buffer_, "");
    return response;
  }
  const std::size_t length = std::stoul(response.headers["content-length"]);
  while (buffer_.size() < length && fill()) {
  }
  response.body = buffer_.substr(0, length);
  buffer_.erase(0, length);
  return response;
}

std::string RawClient::receive_until(std::string_view mark) {
  while (buffer_.find(mark) == std::string::npos) {
    if (!fill()) break;
  }
  return std::exchange(buffer_, "");
}

bool RawClient::closed_by_peer(int within_ms) {
  pollfd wait{socket_.get(), POLLIN, 0};
  char bytes[4096];
  while (::poll(&wait, 1, within_ms) > 0) {
    if (::recv(socket_.get(), bytes, sizeof bytes, 0) <= 0) return true;
  }
  return false;
}

std::string request_bytes(const std::string& method, const std::string& target,
                          const std::string& body, const std::string& headers) {
  std::string text =
      fmt::format("{} {} HTTP/1.1\r\nHost: 127.0.0.1\r\n{}", method, target, headers);
  if (!body.empty()) text += fmt::format("Content-Length: {}\r\n", body.size());
  return text + "\r\n" + body;
}

RawResponse ask(std::uint16_t port, const std::string& method, const std::string& target,
                const std::string& body, const std::string& headers) {
  RawClient client(port);
  client.send(request_bytes(method, target, body, headers));
  return client.receive(method == "HEAD");
}

RawResponse ask_json(std::uint16_t port, const std::string& method, const std::string& target,
                     const nlohmann::json& body, const std::string& headers) {
  return ask(port, method, target, body.dump(), headers + "Content-Type: application/json\r\n");
}

}  // namespace seamwright::coordinator::http
