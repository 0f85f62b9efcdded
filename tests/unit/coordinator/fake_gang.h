// A gang that speaks the protocol and computes nothing: tests decide what it says and when.
// Threads: one test thread; messages arrive on the link's.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "comm/control/link.h"

namespace seamwright::coordinator {

inline constexpr const char* kTestToken = "a token for tests";

class FakeGang {
 public:
  using Json = nlohmann::json;

  // `running` as in a handshake after a lost link.
  // Another process of the same name has another instance.
  FakeGang(std::uint16_t port, const std::string& name, int instance = 1,
           const Json& running = nullptr);

  // The next message of that type; others are put aside. Fails the test after 10 s.
  comm::ControlMessage wait_for(const std::string& type);
  // True if such a message came within the time.
  bool heard(const std::string& type, std::chrono::milliseconds within);
  void send(Json header, comm::Bytes payload = {});
  // Takes the next attempt.
  void take_attempt();
  void progress(std::int64_t evaluations, std::int64_t total);
  void identity(const std::string& what);
  void record(int at, int level, const std::string& bytes);
  // A real, tiny, playable segment; waits for the acknowledgement if asked.
  void segment(int first_frame, int end_frame, bool wait = true);
  // All that is left of a job of so many frames: segments of 48, the end, and idle.
  void finish(int frames, int from = 0);
  void done();
  void idle();
  Json header(const std::string& type) const;
  void vanish() { client_->drop(); }  // without a goodbye
  bool connected() const { return client_ && client_->connected(); }

  std::string job;
  int attempt = 0;
  comm::ControlMessage start;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<comm::ControlMessage> inbox_;
  std::unique_ptr<comm::ControlClient> client_;
};

// What the digests of FakeGang's frames come to.
std::string fake_latents_sha256(int frames);

}  // namespace seamwright::coordinator
