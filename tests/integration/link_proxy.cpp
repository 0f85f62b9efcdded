#include "tests/integration/link_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vector>

#include "base/error.h"

namespace seamwright {
namespace {

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

constexpr int kTurn_ms = 20;

}  // namespace

LinkProxy::LinkProxy(std::uint16_t target)
    : target_(target), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  auto address = loopback(0);
  socklen_t size = sizeof(address);
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  ensure(::bind(listener_.get(), any, size) == 0 && ::listen(listener_.get(), 16) == 0 &&
             ::getsockname(listener_.get(), any, &size) == 0,
         "no port for the proxy");
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { loop(); });
}

LinkProxy::~LinkProxy() {
  stop_ = true;
  thread_.join();
}

void LinkProxy::cut() {
  cut_ = true;
  while (cut_) std::this_thread::sleep_for(std::chrono::milliseconds(kTurn_ms));
}

void LinkProxy::accept_one() {
  Pair pair{media::FileDescriptor(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)),
            media::FileDescriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), false};
  const auto address = loopback(target_);
  if (!pair.gang || ::connect(pair.service.get(), reinterpret_cast<const sockaddr*>(&address),
                              sizeof(address)) != 0) {
    return;
  }
  ++connections_;
  pairs_.push_back(std::move(pair));
}

bool LinkProxy::forward(const media::FileDescriptor& from, const media::FileDescriptor& to) {
  char buffer[1 << 16];
  const auto got = ::recv(from.get(), buffer, sizeof(buffer), 0);
  for (ssize_t sent = 0; sent < got;) {
    const auto now =
        ::send(to.get(), buffer + sent, static_cast<std::size_t>(got - sent), MSG_NOSIGNAL);
    if (now <= 0) return false;
    sent += now;
  }
  return got > 0;
}

void LinkProxy::loop() {
  while (!stop_) {
    if (cut_) {
      pairs_.clear();
      cut_ = false;
    }
    std::vector<pollfd> ready = {{listener_.get(), POLLIN, 0}};
    for (const auto& pair : pairs_) {
      const short wanted = silent_ ? 0 : POLLIN;
      ready.push_back({pair.gang.get(), wanted, 0});
      ready.push_back({pair.service.get(), wanted, 0});
    }
    ::poll(ready.data(), ready.size(), kTurn_ms);
    std::size_t at = 1;
    for (auto& pair : pairs_) {
      const bool gang = (ready[at].revents & POLLIN) != 0;
      const bool service = (ready[at + 1].revents & POLLIN) != 0;
      at += 2;
      if ((gang && !forward(pair.gang, pair.service)) ||
          (service && !forward(pair.service, pair.gang))) {
        pair.ended = true;
      }
    }
    if ((ready[0].revents & POLLIN) != 0) accept_one();
    pairs_.remove_if([](const Pair& pair) { return pair.ended; });
  }
}

}  // namespace seamwright
