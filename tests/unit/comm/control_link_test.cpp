#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "comm/control/link.h"

namespace seamwright::comm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// What one end saw, with a way to wait for it.
class Seen {
 public:
  void add(const std::string& what) {
    {
      std::scoped_lock lock(mutex_);
      events_.push_back(what);
    }
    changed_.notify_all();
  }
  bool wait_for(const std::string& what, milliseconds limit = seconds(120)) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [&] {
      return std::any_of(events_.begin(), events_.end(), [&](const std::string& event) {
        return event.find(what) != std::string::npos;
      });
    });
  }
  std::vector<std::string> all() {
    std::scoped_lock lock(mutex_);
    return events_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> events_;
};

ControlOptions quick_options() {
  ControlOptions options;
  options.token = "open sesame";
  options.heartbeat_interval = milliseconds(50);
  options.silence_limit = milliseconds(1500);
  options.handshake_limit = milliseconds(1500);
  return options;
}

// Where much is sent, by tools that make it slow.
ControlOptions patient_options() {
  auto options = quick_options();
  options.silence_limit = options.handshake_limit = seconds(60);
  return options;
}

ControlMessage text_message(const std::string& type, std::size_t payload = 0) {
  return {{{"type", type}}, Bytes(payload, std::byte{7})};
}

class ControlLink : public testing::Test {
 protected:
  void serve(const ControlOptions& options = quick_options()) {
    server_ = std::make_unique<ControlServer>(
        "127.0.0.1", 0, options,
        ControlServer::Handlers{
            [this](ControlServer::ClientId id, const nlohmann::json& about) {
              client_ = id;
              server_saw_.add("joined " + about.dump());
            },
            [this](ControlServer::ClientId id, ControlMessage message) {
              if (message.type() == "break") throw std::runtime_error("no such job");
              server_saw_.add(message.type() + " " + std::to_string(message.payload.size()));
              if (message.type() == "echo") server_->send(id, std::move(message));
            },
            [this](ControlServer::ClientId, const ControlEnd& end) {
              server_saw_.add("left " + std::string(end.orderly ? "orderly " : "lost ") +
                              end.reason);
            }});
  }
  std::unique_ptr<ControlClient> connect(const ControlOptions& options = quick_options()) {
    return std::make_unique<ControlClient>(
        "127.0.0.1", server_->port(), options, nlohmann::json{{"gang", "g1"}},
        ControlClient::Handlers{
            [this](ControlMessage message) {
              client_saw_.add(message.type() + " " + std::to_string(message.payload.size()));
            },
            [this](const ControlEnd& end) { client_saw_.add("lost " + end.reason); }});
  }

  Seen server_saw_;
  Seen client_saw_;
  std::atomic<ControlServer::ClientId> client_{0};
  std::unique_ptr<ControlServer> server_;
};

// A TCP connection that says whatever a test wants.
class RawPeer {
 public:
  explicit RawPeer(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
    timeval limit{20, 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  }
  ~RawPeer() { ::close(socket_); }
  bool connected() const { return connected_; }
  void say(std::string_view text) {
    (void)!::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
  }
  void say(const ControlMessage& message) {
    const Bytes head = encode_control_head(message);
    say({reinterpret_cast<const char*>(head.data()), head.size()});
  }
  // All it hears until the other end closes.
  std::string hear_to_the_end() {
    std::string heard;
    char buffer[4096];
    for (ssize_t n = 0; (n = ::recv(socket_, buffer, sizeof(buffer), 0)) > 0;) {
      heard.append(buffer, static_cast<std::size_t>(n));
    }
    return heard;
  }

 private:
  int socket_;
  bool connected_ = false;
};

TEST_F(ControlLink, CarriesMessagesBothWaysInOrder) {
  serve();
  const auto client = connect();
  EXPECT_TRUE(server_saw_.wait_for(R"(joined {"gang":"g1"})"));
  for (int i = 0; i < 100; ++i) client->send(text_message("echo", std::size_t(i)));
  EXPECT_TRUE(client_saw_.wait_for("echo 99"));
  const auto seen = client_saw_.all();
  for (std::size_t i = 0; i < 100; ++i) EXPECT_EQ(seen[i], "echo " + std::to_string(i));
}

TEST_F(ControlLink, CarriesLargePayloads) {
  serve(patient_options());
  const auto client = connect(patient_options());
  client->send(text_message("echo", std::size_t{48} << 20U));
  EXPECT_TRUE(client_saw_.wait_for("echo " + std::to_string(48 << 20)));
}

TEST_F(ControlLink, StaysOpenWhileIdleBecauseBothEndsPing) {
  serve();
  const auto client = connect();
  std::this_thread::sleep_for(milliseconds(2500));  // beyond the silence limit
  EXPECT_TRUE(client->connected());
  client->send(text_message("echo"));
  EXPECT_TRUE(client_saw_.wait_for("echo"));
}

TEST_F(ControlLink, RefusesAWrongTokenAtEitherEnd) {
  serve();
  ControlOptions wrong = quick_options();
  wrong.token = "open sesamE";
  try {
    connect(wrong);
    ADD_FAILURE() << "connected with a wrong token";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find("token is wrong"), std::string::npos) << error.what();
  }
  EXPECT_TRUE(server_saw_.all().empty());
  wrong.token.clear();
  EXPECT_THROW(connect(wrong), Error);
}

TEST_F(ControlLink, SaysSoWhenNobodyListens) {
  serve();
  const std::uint16_t port = server_->port();
  server_.reset();
  try {
    ControlClient("127.0.0.1", port, quick_options(), {}, {});
    ADD_FAILURE() << "connected to nobody";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
    EXPECT_TRUE(error.retryable());
  }
}

TEST_F(ControlLink, GivesUpOnAServerThatSaysNothing) {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(listener, 4), 0);
  socklen_t length = sizeof(address);
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length);
  EXPECT_THROW(ControlClient("127.0.0.1", ntohs(address.sin_port), quick_options(), {}, {}), Error);
  ::close(listener);
}

TEST_F(ControlLink, AGoodbyeIsOrderlyAndFlushesFirst) {
  serve(patient_options());
  const auto client = connect(patient_options());
  client->send(text_message("last", 5 << 20));
  client->close(seconds(60));
  EXPECT_TRUE(server_saw_.wait_for("last 5242880"));
  EXPECT_TRUE(server_saw_.wait_for("left orderly closed"));
  EXPECT_FALSE(client->connected());
  EXPECT_THROW(client->send(text_message("late")), Error);
  EXPECT_TRUE(client_saw_.all().empty());  // closing is not losing
}

TEST_F(ControlLink, TheServerCanDisconnectAClient) {
  serve();
  const auto client = connect();
  ASSERT_TRUE(server_saw_.wait_for("joined"));
  server_->disconnect(client_, "lease is over");
  EXPECT_TRUE(client_saw_.wait_for("lost lease is over"));
  EXPECT_TRUE(server_saw_.wait_for("left lost lease is over"));
  EXPECT_FALSE(server_->send(client_, text_message("late")));
}

TEST_F(ControlLink, AReasonThatCannotBeSentStillEndsTheLink) {
  serve();
  for (const std::string& reason :
       {std::string("not \xff UTF-8"), std::string(std::size_t{2} << 20U, 'x')}) {
    const auto client = connect();
    ASSERT_TRUE(server_saw_.wait_for("joined"));
    for (int i = 0; i < 1000 && client_ == 0; ++i) std::this_thread::sleep_for(milliseconds(10));
    server_->disconnect(client_.exchange(0), reason);
    EXPECT_TRUE(server_saw_.wait_for("left lost " + reason));
  }
  const auto client = connect();
  client->send(text_message("echo"));
  EXPECT_TRUE(client_saw_.wait_for("echo"));
}

TEST_F(ControlLink, AHandlerThatThrowsEndsThatLinkOnly) {
  serve();
  const auto first = connect();
  const auto second = connect();
  first->send(text_message("break"));
  EXPECT_TRUE(server_saw_.wait_for("left lost no such job"));
  second->send(text_message("echo"));
  EXPECT_TRUE(client_saw_.wait_for("echo"));
}

TEST_F(ControlLink, TheServersEndIsLossForTheClient) {
  serve();
  const auto client = connect();
  server_.reset();
  EXPECT_TRUE(client_saw_.wait_for("lost"));
  EXPECT_FALSE(client->connected());
}

TEST_F(ControlLink, StrangersAreCutOffWhateverTheySay) {
  serve();
  const std::string oversized = std::string("SWC\x01", 4) + std::string(12, '\x7f');
  const std::vector<std::function<void(RawPeer&)>> speeches = {
      [](RawPeer& peer) { peer.say("GET / HTTP/1.1\r\n\r\n"); },
      [&](RawPeer& peer) { peer.say(oversized); },
      [](RawPeer& peer) {
        peer.say(ControlMessage{{{"type", "frame"}}, {}});
      },
      [](RawPeer& peer) {
        peer.say(ControlMessage{{{"type", "link.ping"}}, {}});
      },
      [](RawPeer& peer) {
        peer.say(ControlMessage{{{"type", "link.hello"}, {"protocol", "1"}}, {}});
      },
      [](RawPeer& peer) {
        peer.say(ControlMessage{{{"type", "link.hello"}, {"protocol", 1}}, {}});
      },
      [](RawPeer& peer) {
        peer.say(ControlMessage{{{"type", "link.hello"},
                                 {"protocol", 1},
                                 {"nonce", std::string(64, 'a')},
                                 {"proof", 5}},
                                {}});
      },
      // The refusal quotes what it refuses, and must not fail over it.
      [](RawPeer& peer) {
        peer.say(std::string("SWC\x01\x0c\0\0\0\0\0\0\0\0\0\0\0{\"type\":\"\xff\"}", 28));
      },
      [](RawPeer&) {},  // says nothing: the handshake's deadline ends it
  };
  for (std::size_t i = 0; i < speeches.size(); ++i) {
    RawPeer peer(server_->port());
    ASSERT_TRUE(peer.connected());
    speeches[i](peer);
    EXPECT_EQ(peer.hear_to_the_end().find("link.welcome"), std::string::npos) << "speech " << i;
  }
  const auto client = connect();  // and none of them harmed the server
  EXPECT_EQ(server_saw_.all().size(), 1U);
}

TEST_F(ControlLink, AClientThatDoesNotReadIsDroppedWhenTooFarBehind) {
  ControlOptions options = quick_options();
  options.queued_bytes_max = 4 << 20;
  serve(options);
  std::mutex gate;
  gate.lock();
  ControlClient stuck("127.0.0.1", server_->port(), quick_options(), {},
                      {[&](const ControlMessage&) { std::scoped_lock wait(gate); }, nullptr});
  ASSERT_TRUE(server_saw_.wait_for("joined"));
  bool accepted = true;
  for (int i = 0; i < 200 && accepted; ++i) {
    accepted = server_->send(client_, text_message("frame", 1 << 20));
  }
  EXPECT_FALSE(accepted);
  EXPECT_TRUE(server_saw_.wait_for("left lost"));
  gate.unlock();
}

TEST_F(ControlLink, AnAddressInUseIsReported) {
  serve();
  EXPECT_THROW(ControlServer("127.0.0.1", server_->port(), quick_options(), {}), Error);
}

}  // namespace
}  // namespace seamwright::comm
