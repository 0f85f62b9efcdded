#include <boost/asio/connect.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <future>
#include <thread>
#include <utility>

#include "comm/control/connection.h"
#include "comm/control/link.h"
#include "comm/control/proof.h"

namespace seamwright::comm {

using boost::asio::ip::tcp;
using boost::system::error_code;

struct ControlClient::Impl {
  using WorkGuard = boost::asio::executor_work_guard<boost::asio::io_context::executor_type>;

  Impl(const ControlOptions& control_options, nlohmann::json about_us, Handlers client_handlers)
      : options(control_options),
        about(std::move(about_us)),
        handlers(std::move(client_handlers)),
        guard(io.get_executor()),
        resolver(io),
        socket(io),
        deadline(io) {}

  void dial(const std::string& to_host, std::uint16_t to_port);
  void fail_dial(ErrorCode code, const std::string& what);
  void connected();
  void shake_hands(const ControlMessage& message);
  void challenge(const ControlMessage& message);
  void welcome(const ControlMessage& message);

  const ControlOptions options;
  const nlohmann::json about;
  const Handlers handlers;
  boost::asio::io_context io{1};
  WorkGuard guard;
  tcp::resolver resolver;
  tcp::socket socket;
  boost::asio::steady_timer deadline;
  std::string where;
  std::shared_ptr<ControlConnection> connection;  // set before `ready`
  std::string server_nonce;
  std::string nonce = make_nonce();
  std::promise<void> ready;
  bool settled = false;  // io thread: `ready` has its answer
  bool closing = false;  // io thread: we ended it, so nothing is lost
  std::thread thread;
};

void ControlClient::Impl::fail_dial(ErrorCode code, const std::string& what) {
  if (std::exchange(settled, true)) return;
  deadline.cancel();
  error_code ignored;
  socket.close(ignored);
  resolver.cancel();
  const std::string message =
      fmt::format("cannot connect to the coordinator at {}: {}", where, what);
  ready.set_exception(std::make_exception_ptr(
      Error(code, message, std::source_location::current(), code == ErrorCode::kUnavailable)));
}

void ControlClient::Impl::dial(const std::string& to_host, std::uint16_t to_port) {
  where = fmt::format("{}:{}", to_host, to_port);
  deadline.expires_after(options.handshake_limit);
  deadline.async_wait([this](const error_code& error) {
    if (!error) fail_dial(ErrorCode::kUnavailable, "no answer in time");
  });
  resolver.async_resolve(
      to_host, std::to_string(to_port), [this](const error_code& error, const auto& found) {
        if (error) return fail_dial(ErrorCode::kUnavailable, error.message());
        boost::asio::async_connect(socket, found, [this](const error_code& failed, const auto&) {
          if (failed) return fail_dial(ErrorCode::kUnavailable, failed.message());
          if (!settled) connected();
        });
      });
}

void ControlClient::Impl::connected() {
  connection = std::make_shared<ControlConnection>(std::move(socket), options);
  connection->set_events(
      {[this](const ControlMessage& message) { shake_hands(message); },
       [this](const ControlEnd& end) { fail_dial(ErrorCode::kUnavailable, end.reason); }});
  connection->start();
}

void ControlClient::Impl::shake_hands(const ControlMessage& message) {
  const std::string type = message.type();
  if (type == "link.challenge") {
    challenge(message);
  } else if (type == "link.welcome" && !server_nonce.empty()) {
    welcome(message);
  } else {
    const std::string reason = message.header.value("reason", "it answered with " + type);
    fail_dial(ErrorCode::kInvalidArgument, "it refused us: " + reason);
    connection->end({false, reason});
  }
}

void ControlClient::Impl::challenge(const ControlMessage& message) {
  server_nonce = message.header.value("nonce", std::string());
  connection->send({{{"type", "link.hello"},
                     {"protocol", kProtocol},
                     {"nonce", nonce},
                     {"proof", make_proof(options.token, "client", server_nonce, nonce)},
                     {"about", about}},
                    {}});
}

void ControlClient::Impl::welcome(const ControlMessage& message) {
  const std::string proof = make_proof(options.token, "server", server_nonce, nonce);
  if (!equal_in_constant_time(message.header.value("proof", std::string()), proof)) {
    fail_dial(ErrorCode::kInvalidArgument, "it does not know our token");
    connection->end({false, "the other end does not know our token"});
    return;
  }
  settled = true;
  deadline.cancel();
  connection->set_events({[this](ControlMessage next) { handlers.message(std::move(next)); },
                          [this](const ControlEnd& end) {
                            if (!closing && handlers.lost) handlers.lost(end);
                          }});
  connection->open();
  ready.set_value();
}

ControlClient::ControlClient(const std::string& host, std::uint16_t port,
                             const ControlOptions& options, const nlohmann::json& about,
                             Handlers handlers)
    : impl_(std::make_shared<Impl>(options, about, std::move(handlers))) {
  require(!options.token.empty(), "the control link needs a token that both ends know");
  boost::asio::post(impl_->io, [impl = impl_.get(), host, port] { impl->dial(host, port); });
  impl_->thread = std::thread([impl = impl_.get()] { impl->io.run(); });
  try {
    impl_->ready.get_future().get();
  } catch (...) {
    impl_->io.stop();
    impl_->thread.join();
    throw;
  }
}

ControlClient::~ControlClient() {
  close(std::chrono::milliseconds(0));
  impl_->guard.reset();
  impl_->io.stop();
  impl_->thread.join();
}

void ControlClient::send(ControlMessage message) {
  if (std::this_thread::get_id() != impl_->thread.get_id()) {
    impl_->connection->wait_queued_below(impl_->options.queued_bytes_max);
  }
  if (!impl_->connection->send(std::move(message))) {
    throw Error(ErrorCode::kUnavailable, "the link to the coordinator is lost",
                std::source_location::current(), true);
  }
}

std::size_t ControlClient::queued_bytes() const { return impl_->connection->queued_bytes(); }

bool ControlClient::connected() const { return !impl_->connection->ended(); }

void ControlClient::close(std::chrono::milliseconds patience) {
  boost::asio::post(impl_->io, [impl = impl_.get()] {
    impl->closing = true;
    impl->connection->finish({true, "closed here"},
                             ControlMessage{{{"type", "link.bye"}, {"reason", "closed"}}, {}});
  });
  impl_->connection->wait_ended(patience);
}

void ControlClient::drop() {
  boost::asio::post(impl_->io, [impl = impl_.get()] {
    impl->closing = true;
    impl->connection->end({false, "dropped here"});
  });
  impl_->connection->wait_ended(std::chrono::seconds(5));
}

}  // namespace seamwright::comm
