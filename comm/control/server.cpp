#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "comm/control/connection.h"
#include "comm/control/link.h"
#include "comm/control/proof.h"

namespace seamwright::comm {

using boost::asio::ip::tcp;
using boost::system::error_code;
using ConnectionPtr = std::shared_ptr<ControlConnection>;

namespace {

// Connections that have proved nothing yet; more than this is an attack or a mistake.
constexpr std::size_t kStrangersMax = 64;

std::string text_field(const nlohmann::json& header, const char* name) {
  const auto at = header.find(name);
  return at != header.end() && at->is_string() ? at->get<std::string>() : std::string();
}

tcp::endpoint resolve(boost::asio::io_context& io, const std::string& host, std::uint16_t port) {
  error_code error;
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (error || found.empty()) {
    fail(ErrorCode::kUnavailable, "cannot listen on {}:{}: {}", host, port, error.message());
  }
  return found.begin()->endpoint();
}

}  // namespace

struct ControlServer::Impl : std::enable_shared_from_this<ControlServer::Impl> {
  Impl(const ControlOptions& control_options, Handlers server_handlers)
      : options(control_options), handlers(std::move(server_handlers)), acceptor(io) {}

  void listen(const std::string& host, std::uint16_t port);
  void accept();
  void greet(tcp::socket socket);
  void hello(const ConnectionPtr& connection, const std::string& nonce,
             const ControlMessage& hello);
  void admit(const ConnectionPtr& connection, const nlohmann::json& about);
  void left(ClientId client, const ControlEnd& end);
  ConnectionPtr find(ClientId client);

  const ControlOptions options;
  const Handlers handlers;
  boost::asio::io_context io{1};
  tcp::acceptor acceptor;
  std::uint16_t port = 0;
  std::set<ConnectionPtr> strangers;  // io thread only
  ClientId last_id = 0;               // io thread only
  std::mutex mutex;
  std::map<ClientId, ConnectionPtr> clients;  // by mutex
  std::thread thread;
};

void ControlServer::Impl::listen(const std::string& host, std::uint16_t wanted) {
  const tcp::endpoint endpoint = resolve(io, host, wanted);
  try {
    acceptor.open(endpoint.protocol());
    acceptor.set_option(tcp::acceptor::reuse_address(true));
    acceptor.bind(endpoint);
    acceptor.listen();
  } catch (const boost::system::system_error& error) {
    fail(ErrorCode::kUnavailable, "cannot listen on {}:{}: {}", host, wanted,
         error.code().message());
  }
  port = acceptor.local_endpoint().port();
}

void ControlServer::Impl::accept() {
  acceptor.async_accept([this](const error_code& error, tcp::socket socket) {
    if (error == boost::asio::error::operation_aborted) return;
    if (!error && strangers.size() < kStrangersMax) greet(std::move(socket));
    accept();
  });
}

void ControlServer::Impl::greet(tcp::socket socket) {
  const auto connection = std::make_shared<ControlConnection>(std::move(socket), options);
  const std::string nonce = make_nonce();
  strangers.insert(connection);
  // Weak: the connection owns its events, and must not own itself through them.
  const std::weak_ptr<ControlConnection> weak = connection;
  connection->set_events({[this, weak, nonce](const ControlMessage& message) {
                            if (const ConnectionPtr self = weak.lock()) hello(self, nonce, message);
                          },
                          [this, weak](const ControlEnd&) {
                            if (const ConnectionPtr self = weak.lock()) strangers.erase(self);
                          }});
  connection->start();
  connection->send({{{"type", "link.challenge"}, {"protocol", kProtocol}, {"nonce", nonce}}, {}});
}

void ControlServer::Impl::hello(const ConnectionPtr& connection, const std::string& nonce,
                                const ControlMessage& hello) {
  const std::string client_nonce = text_field(hello.header, "nonce");
  const std::string proof = make_proof(options.token, "client", nonce, client_nonce);
  std::string refusal;
  if (hello.type() != "link.hello" || hello.header.value("protocol", 0) != kProtocol) {
    refusal = fmt::format("protocol {} is spoken here", kProtocol);
  } else if (client_nonce.size() != 64 ||
             !equal_in_constant_time(text_field(hello.header, "proof"), proof)) {
    refusal = "the token is wrong";
  }
  if (!refusal.empty()) {
    connection->finish({false, refusal},
                       ControlMessage{{{"type", "link.refused"}, {"reason", refusal}}, {}});
    return;
  }
  connection->send({{{"type", "link.welcome"},
                     {"proof", make_proof(options.token, "server", nonce, client_nonce)}},
                    {}});
  admit(connection, hello.header.value("about", nlohmann::json::object()));
}

void ControlServer::Impl::admit(const ConnectionPtr& connection, const nlohmann::json& about) {
  strangers.erase(connection);
  const ClientId client = ++last_id;
  {
    std::scoped_lock lock(mutex);
    clients[client] = connection;
  }
  connection->set_events(
      {[this, client](ControlMessage message) { handlers.message(client, std::move(message)); },
       [this, client](const ControlEnd& end) { left(client, end); }});
  connection->open();
  if (handlers.joined) handlers.joined(client, about);
}

void ControlServer::Impl::left(ClientId client, const ControlEnd& end) {
  {
    std::scoped_lock lock(mutex);
    clients.erase(client);
  }
  if (handlers.left) handlers.left(client, end);
}

ConnectionPtr ControlServer::Impl::find(ClientId client) {
  std::scoped_lock lock(mutex);
  const auto at = clients.find(client);
  return at == clients.end() ? nullptr : at->second;
}

ControlServer::ControlServer(const std::string& host, std::uint16_t port,
                             const ControlOptions& options, Handlers handlers)
    : impl_(std::make_shared<Impl>(options, std::move(handlers))) {
  require(!options.token.empty(), "the control link needs a token that both ends know");
  impl_->listen(host, port);
  impl_->accept();
  impl_->thread = std::thread([impl = impl_.get()] { impl->io.run(); });
}

ControlServer::~ControlServer() {
  boost::asio::post(impl_->io, [impl = impl_.get()] {
    error_code ignored;
    impl->acceptor.close(ignored);
    std::map<ClientId, ConnectionPtr> clients;
    {
      std::scoped_lock lock(impl->mutex);
      clients = impl->clients;
    }
    const ControlEnd end{false, "the coordinator has shut down"};
    for (const auto& [id, connection] : clients) connection->end(end);
    for (const auto& stranger : std::set<ConnectionPtr>(impl->strangers)) stranger->end(end);
    impl->io.stop();
  });
  impl_->thread.join();
}

std::uint16_t ControlServer::port() const { return impl_->port; }

bool ControlServer::send(ClientId client, ControlMessage message) {
  const ConnectionPtr connection = impl_->find(client);
  if (!connection || !connection->send(std::move(message))) return false;
  const std::size_t behind = connection->queued_bytes();
  if (behind <= impl_->options.queued_bytes_max) return true;
  boost::asio::post(impl_->io, [connection, behind] {
    connection->end({false, fmt::format("it is {} bytes behind in reading", behind)});
  });
  return false;
}

void ControlServer::disconnect(ClientId client, const std::string& reason) {
  const ConnectionPtr connection = impl_->find(client);
  if (!connection) return;
  boost::asio::post(impl_->io, [connection, reason] {
    connection->finish({false, reason},
                       ControlMessage{{{"type", "link.bye"}, {"reason", reason}}, {}});
  });
}

}  // namespace seamwright::comm
