#include "coordinator/http/server.h"

#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "coordinator/dashboard/dashboard.h"
#include "coordinator/http/connection.h"

namespace seamwright::coordinator::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

// Descriptors beside connections: the store, files being sent, gangs, logs.
constexpr int kReservedDescriptors = 256;

// Raises the limit of open files as far as allowed; returns how many connections fit under it.
int fitting_connections(int wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
  const auto needed = static_cast<rlim_t>(2 * wanted + kReservedDescriptors);
  if (limit.rlim_cur < needed) {
    limit.rlim_cur = std::min(limit.rlim_max, needed);
    ::setrlimit(RLIMIT_NOFILE, &limit);
    ::getrlimit(RLIMIT_NOFILE, &limit);
  }
  const auto room = static_cast<long long>(std::min<rlim_t>(limit.rlim_cur, 1 << 20));
  return static_cast<int>(
      std::clamp((room - kReservedDescriptors) / 2, 8LL, static_cast<long long>(wanted)));
}

asio::ip::address address_of(const std::string& host) {
  boost::system::error_code error;
  const auto address = asio::ip::make_address(host == "localhost" ? "127.0.0.1" : host, error);
  require(!error, "host is '{}', but must be an address such as 127.0.0.1, ::1 or 0.0.0.0", host);
  return address;
}

ApiOptions with_dashboard(ApiOptions options, bool wanted) {
  if (wanted) {
    for (Route& route : dashboard_routes()) options.extra_routes.push_back(std::move(route));
  }
  return options;
}

}  // namespace

bool is_loopback(const std::string& host) { return address_of(host).is_loopback(); }

struct Server::State {
  State(JobService& service, ServerOptions o)
      : options(std::move(o)),
        has_keys(!options.api.keys.empty()),
        api(service, with_dashboard(std::move(options.api), options.dashboard)),
        waiting_work(static_cast<std::size_t>(std::max(1, options.limits.waiting_threads))),
        shared{api, options.limits, {}, {}, waiting_work},
        io(std::max(1, options.limits.threads)),
        acceptor(asio::make_strand(io)) {
    options.limits.connections = fitting_connections(options.limits.connections);
  }

  void listen() {
    const tcp::endpoint endpoint(address_of(options.host), options.port);
    boost::system::error_code error;
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(1024, error);
    if (!error) port = acceptor.local_endpoint().port();
    if (error) {
      fail(ErrorCode::kUnavailable, "cannot listen on {} port {}: {}; choose another --port",
           options.host, options.port, error.message());
    }
  }

  asio::awaitable<void> accept_all() {
    constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
    while (acceptor.is_open()) {
      auto [error, socket] = co_await acceptor.async_accept(asio::make_strand(io), kToken);
      if (!error) {
        admit(std::move(socket));
      } else if (acceptor.is_open()) {
        // Out of descriptors or the like: the clients wait in the queue of the system.
        asio::steady_timer pause(io, std::chrono::milliseconds(50));
        co_await pause.async_wait(kToken);
      }
    }
  }

  void admit(tcp::socket socket) {
    const auto executor = socket.get_executor();
    auto connection = std::make_shared<Connection>(std::move(socket), shared);
    {
      const std::scoped_lock lock(mutex);
      if (static_cast<int>(connections.size()) >= options.limits.connections) evict();
      connections.push_back(connection);
    }
    asio::co_spawn(executor, connection->run(),
                   [this, connection](const std::exception_ptr& exception) {
                     if (exception) log_failure(exception);
                     forget(connection);
                   });
  }

  // The connection that has waited longest without a request makes room.
  void evict() {
    const auto longest = std::min_element(
        connections.begin(), connections.end(),
        [](const auto& a, const auto& b) { return a->waiting_since() < b->waiting_since(); });
    if (longest == connections.end()) return;
    (*longest)->close();
    connections.erase(longest);
    api.metrics().connection_refused("too_many");
  }

  static void log_failure(const std::exception_ptr& exception) {
    try {
      std::rethrow_exception(exception);
    } catch (const std::exception& error) {
      log_error("http: a connection failed: {}", error.what());
    }
  }

  void forget(const std::shared_ptr<Connection>& connection) {
    const std::scoped_lock lock(mutex);
    std::erase(connections, connection);
    gone.notify_all();
  }

  ServerOptions options;
  bool has_keys;
  Api api;
  asio::thread_pool waiting_work;
  ServerShared shared;
  asio::io_context io;
  tcp::acceptor acceptor;
  std::vector<std::jthread> threads;
  std::mutex mutex;
  std::condition_variable gone;
  std::list<std::shared_ptr<Connection>> connections;  // guarded by mutex
  std::uint16_t port = 0;
};

Server::Server(JobService& service, ServerOptions options)
    : state_(std::make_unique<State>(service, std::move(options))) {
  state_->listen();
  if (!state_->has_keys && !address_of(state_->options.host).is_loopback()) {
    log_warning(
        "http: {} can be reached from other machines and has no API keys: whoever reaches it may "
        "use "
        "it; give --api-key-file",
        url());
  }
  asio::co_spawn(state_->acceptor.get_executor(), state_->accept_all(), asio::detached);
  for (int i = 0; i < std::max(1, state_->options.limits.threads); ++i) {
    state_->threads.emplace_back([io = &state_->io] { io->run(); });
  }
}

Server::~Server() { stop(); }

std::uint16_t Server::port() const { return state_->port; }

std::string Server::url() const {
  const auto address = address_of(state_->options.host);
  if (address.is_unspecified()) return fmt::format("http://127.0.0.1:{}", state_->port);
  return address.is_v6() ? fmt::format("http://[{}]:{}", address.to_string(), state_->port)
                         : fmt::format("http://{}:{}", address.to_string(), state_->port);
}

void Server::stop(std::chrono::milliseconds grace) {
  if (state_->threads.empty()) return;
  state_->shared.stopping = true;
  asio::post(state_->acceptor.get_executor(), [this] {
    boost::system::error_code ignored;
    state_->acceptor.close(ignored);
  });
  const auto for_all = [this](void (Connection::*call)()) {
    for (const auto& connection : state_->connections) ((*connection).*call)();
  };
  {
    std::unique_lock lock(state_->mutex);
    for_all(&Connection::begin_stop);
    state_->gone.wait_for(lock, grace, [this] { return state_->connections.empty(); });
    for_all(&Connection::close);
    state_->gone.wait_for(lock, std::chrono::seconds(5),
                          [this] { return state_->connections.empty(); });
  }
  state_->waiting_work.join();
  state_->io.stop();
  state_->threads.clear();
}

}  // namespace seamwright::coordinator::http
