// A gang's link through lost connections: it joins again, repeats what was not acknowledged, and
// gives up after its lease.
#include "worker/gang_link.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <map>
#include <thread>

#include "base/error.h"
#include "worker/attempt_reports.h"
#include "worker/remote_store.h"

namespace seamwright::worker {
namespace {

using comm::ControlMessage;
using comm::ControlServer;
using std::chrono::milliseconds;

constexpr const char* kToken = "a token for tests";

// A coordinator that only listens.
struct Listener {
  explicit Listener(std::uint16_t port = 0) {
    comm::ControlOptions options;
    options.token = kToken;
    ControlServer::Handlers handlers;
    handlers.joined = [this](ControlServer::ClientId id, const nlohmann::json& about) {
      const std::lock_guard lock(mutex);
      client = id;
      abouts.push_back(about);
      changed.notify_all();
    };
    handlers.message = [this](ControlServer::ClientId, ControlMessage message) {
      const std::lock_guard lock(mutex);
      received.push_back(std::move(message));
      changed.notify_all();
    };
    handlers.left = [](ControlServer::ClientId, const comm::ControlEnd&) {};
    server = std::make_unique<ControlServer>("127.0.0.1", port, options, std::move(handlers));
  }
  bool wait(const std::function<bool()>& holds) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(10), holds);
  }
  void answer(nlohmann::json header, comm::Bytes payload = {}) {
    server->send(client, {std::move(header), std::move(payload)});
  }
  std::mutex mutex;
  std::condition_variable changed;
  ControlServer::ClientId client = 0;
  std::vector<nlohmann::json> abouts;
  std::vector<ControlMessage> received;
  std::unique_ptr<ControlServer> server;
};

GangLinkOptions options_for(std::uint16_t port) {
  GangLinkOptions options;
  options.host = "127.0.0.1";
  options.port = port;
  options.token = kToken;
  options.lease = milliseconds(800);
  options.first_patience = milliseconds(800);
  return options;
}

GangLink::Handlers quiet(std::function<void(const ControlMessage&)> message = {}) {
  GangLink::Handlers handlers;
  handlers.about = [] { return nlohmann::json{{"gang", "g"}}; };
  handlers.message = [message](const ControlMessage& m) {
    if (message) message(m);
  };
  handlers.expired = [](const std::string&) {};
  return handlers;
}

TEST(GangLink, RepeatsWhatWasNotAcknowledged) {
  auto first = std::make_unique<Listener>();
  const auto port = first->server->port();
  GangLink link(options_for(port), quiet());
  link.deliver("kept", {{"type", "kept"}});
  link.deliver("done", {{"type", "done"}});
  ASSERT_TRUE(first->wait([&] { return first->received.size() == 2; }));
  link.acknowledged("done");
  first.reset();
  Listener second(port);
  ASSERT_TRUE(second.wait([&] { return !second.received.empty(); }));
  link.tell({{"type", "last"}});
  ASSERT_TRUE(second.wait([&] { return second.received.size() == 2; }));
  EXPECT_EQ(second.received[0].type(), "kept");
  EXPECT_EQ(second.received[1].type(), "last");
  EXPECT_FALSE(link.wait_delivered(milliseconds(10)));
  link.acknowledged("kept");
  EXPECT_TRUE(link.wait_delivered(milliseconds(10)));
}

TEST(GangLink, GivesUpAfterItsLease) {
  auto listener = std::make_unique<Listener>();
  std::atomic<bool> expired{false};
  auto handlers = quiet();
  handlers.expired = [&](const std::string&) { expired = true; };
  GangLink link(options_for(listener->server->port()), std::move(handlers));
  ASSERT_TRUE(listener->wait([&] { return listener->abouts.size() == 1; }));
  listener.reset();
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_FALSE(expired);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!expired && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(milliseconds(20));
  }
  EXPECT_TRUE(expired);
}

// As one whose name is taken.
TEST(GangLink, EndsWhenItIsSentAwayForItsLease) {
  std::unique_ptr<ControlServer> server;
  std::atomic<int> visits{0};
  comm::ControlOptions options;
  options.token = kToken;
  ControlServer::Handlers handlers;
  handlers.joined = [&](ControlServer::ClientId id, const nlohmann::json&) {
    ++visits;
    server->disconnect(id, "the name is taken");
  };
  handlers.message = [](ControlServer::ClientId, const ControlMessage&) {};
  server =
      std::make_unique<ControlServer>("127.0.0.1", std::uint16_t{0}, options, std::move(handlers));
  std::mutex mutex;
  std::string why;
  auto gang = quiet();
  gang.expired = [&](const std::string& reason) {
    const std::lock_guard lock(mutex);
    why = reason;
  };
  GangLink link(options_for(server->port()), std::move(gang));
  const auto said = [&] {
    const std::lock_guard lock(mutex);
    return why;
  };
  for (int i = 0; i < 6000 && said().empty(); ++i) std::this_thread::sleep_for(milliseconds(10));
  EXPECT_EQ(said(), "the name is taken");
  EXPECT_GE(visits, 2) << "the other may be gone in a moment";
  EXPECT_LE(visits, 20) << "not as fast as it can";
}

class RemoteStoreTest : public testing::Test {
 protected:
  RemoteStoreTest()
      : link(options_for(listener.server->port()), quiet([this](const ControlMessage& m) {
               if (auto* s = store.load()) s->handle(m);
             })) {
    identity.parts = {{"numerics", "x"}};
  }
  void open(const nlohmann::json& left) {
    opened.emplace(link, AttemptName{"j", 2}, left, identity, "/tmp");
    store = &*opened;
  }
  nlohmann::json left(const std::string& numerics) {
    return {{"identity", {{"numerics", numerics}, {"checkpoint_interval", 2}}},
            {"records", {{3, 1}}},
            {"segments",
             {{{"first_frame", 0},
               {"end_frame", 2},
               {"latents", {std::string(64, 'a'), std::string(64, 'b')}},
               {"notes", {{"n", 1}}}}}}};
  }
  ~RemoteStoreTest() override { store = nullptr; }

  Listener listener;
  std::atomic<RemoteStore*> store{nullptr};
  DurableIdentity identity;
  std::optional<RemoteStore> opened;
  GangLink link;
};

TEST_F(RemoteStoreTest, TakesOverWhatBelongsToTheSameIdentity) {
  open(left("x"));
  EXPECT_EQ(opened->state().attempt, 2);
  EXPECT_EQ(opened->state().first_missing_frame(), 2);
  ASSERT_EQ(opened->state().records.size(), 1U);
  EXPECT_EQ(opened->state().checkpoint_interval, 2);
  opened->keep_interval(3);
  store = nullptr;
  opened.reset();
  open(left("y"));
  EXPECT_EQ(opened->state().first_missing_frame(), 0);
  EXPECT_TRUE(opened->state().records.empty());
  opened->keep_interval(3);
  ASSERT_TRUE(listener.wait([&] { return listener.received.size() == 2; }));
  // What the coordinator has is of the interval that it knows, or goes.
  EXPECT_EQ(listener.received[0].header.at("parts"), left("x").at("identity"));
  EXPECT_EQ(listener.received[1].header.at("parts"),
            (nlohmann::json{{"numerics", "x"}, {"checkpoint_interval", 3}}));
}

TEST_F(RemoteStoreTest, RecordsCountWhenTheyAreAcknowledged) {
  open(left("x"));
  std::atomic<int> saved{0}, failed{0};
  const auto acknowledge = [&](const Error* error) { ++(error == nullptr ? saved : failed); };
  opened->save_record({4, 1}, comm::Bytes(8), acknowledge);
  opened->save_record({5, 1}, comm::Bytes(8), acknowledge);
  ASSERT_TRUE(listener.wait([&] { return listener.received.size() == 2; }));
  EXPECT_EQ(saved, 0);
  listener.answer({{"type", "attempt.record_saved"}, {"at", 4}, {"level", 1}});
  const auto wait_for = [](const std::atomic<int>& count) {
    for (int i = 0; i < 500 && count == 0; ++i) std::this_thread::sleep_for(milliseconds(10));
    return count.load();
  };
  EXPECT_EQ(wait_for(saved), 1);
  listener.answer({{"type", "attempt.refused"}, {"code", "out_of_disk"}, {"message", "full"}});
  EXPECT_EQ(wait_for(failed), 1);
  EXPECT_THROW(opened->flush(), Error);
}

TEST_F(RemoteStoreTest, ACancelWakesWhoeverWaits) {
  open(left("x"));
  std::thread canceller([&] {
    std::this_thread::sleep_for(milliseconds(100));
    opened->end("stopped");
  });
  try {
    opened->load_record({3, 1});
    FAIL() << "nobody answered";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCancelled);
  }
  canceller.join();
}

// A keeper goes once flush() returns, and what was saved tells the keeper.
TEST_F(RemoteStoreTest, WaitsForAcknowledgementsThatAreUnderWayAlsoAfterTheEnd) {
  open(left("x"));
  std::promise<void> called, go_on;
  std::atomic<bool> done{false};
  opened->save_record({4, 1}, comm::Bytes(8), [&](const Error*) {
    called.set_value();
    go_on.get_future().wait();
    done = true;
  });
  std::thread ender([&] { opened->end("stopped"); });
  called.get_future().wait();
  std::atomic<bool> flushed{false};
  std::thread waiter([&] {
    EXPECT_THROW(opened->flush(), Error);
    EXPECT_TRUE(done);
    flushed = true;
  });
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_FALSE(flushed);
  go_on.set_value();
  ender.join();
  waiter.join();
}

TEST_F(RemoteStoreTest, EndsTheAttemptWhereARecordCannotBeSent) {
  // Headers have a limit as payloads have, and need less memory in a test.
  try {
    link.deliver("k", {{"type", "t"}, {"much", std::string(2U << 20U, 'x')}});
    FAIL() << "it would wait for ever";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kResource);
  }
  EXPECT_TRUE(link.wait_delivered(milliseconds(0)));
  link.tell({{"type", "t"}, {"much", std::string(2U << 20U, 'x')}});  // lost, and no harm done
  opened.emplace(link, AttemptName{std::string(2U << 20U, 'j'), 2}, left("x"), identity, "/tmp");
  std::atomic<int> failed{0};
  EXPECT_THROW(opened->save_record({4, 1}, comm::Bytes(8),
                                   [&](const Error* error) { failed += error != nullptr; }),
               Error);
  EXPECT_EQ(failed, 1);
  EXPECT_THROW(opened->flush(), Error);  // and does not wait
}

TEST(AttemptReports, SaysThatALongStepGoesOn) {
  Listener listener;
  GangLink link(options_for(listener.server->port()), quiet());
  link.deliver("first", {{"type", "first"}});  // once it is there, the link is up
  ASSERT_TRUE(listener.wait([&] { return listener.received.size() == 1; }));
  listener.received.clear();
  const JobRequest request;
  AttemptReports reports(link, {"j", 2}, request, milliseconds(0));
  const auto hooks = reports.hooks();
  hooks.alive();
  hooks.progress({.evaluations = 3, .evaluations_total = 12, .frames = 0, .frames_total = 8});
  hooks.alive();
  ASSERT_TRUE(listener.wait([&] { return listener.received.size() == 4; }));
  EXPECT_FALSE(listener.received[0].header.contains("alive"));
  EXPECT_EQ(listener.received[1].header.at("alive"), true);
  EXPECT_EQ(listener.received[1].header.at("phase"), "loading");
  auto again = listener.received[3].header;
  EXPECT_EQ(again.at("alive"), true);
  again.erase("alive");
  EXPECT_EQ(again, listener.received[2].header);
}

}  // namespace
}  // namespace seamwright::worker
