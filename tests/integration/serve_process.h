// `seamwright serve` as a child process of a test, and what tests ask of it.
// Threads: one test thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/unit/coordinator/http/raw_client.h"

namespace seamwright {

class ServeProcess {
 public:
  using Json = nlohmann::json;

  // Gangs of `data`'s service use the models of the fixtures. `failpoints` as arm_failpoints.
  ServeProcess(std::filesystem::path data, std::vector<std::string> more = {},
               const std::string& failpoints = "");
  ~ServeProcess();  // kills it, and what it started
  ServeProcess(const ServeProcess&) = delete;
  ServeProcess& operator=(const ServeProcess&) = delete;

  bool started() const { return port_ != 0; }  // false: it ended before it listened
  std::uint16_t port() const { return port_; }
  pid_t pid() const { return pid_; }
  void kill_now();  // SIGKILL, and reaps it
  int stop();       // SIGTERM; its exit code
  bool running();   // has not ended by itself
  // Pids of all processes that its gangs started, by their mark.
  std::vector<pid_t> gang_processes() const;

  // The job's id, or "" when it was not acknowledged.
  std::string submit(const Json& body, const std::string& headers = "");
  Json get(const std::string& id);  // null when nobody answers
  coordinator::http::RawResponse ask(const std::string& method, const std::string& target,
                                     const std::string& body = "");
  // Polls; fails the test after the limit, which only a service that hangs should reach.
  Json wait_for(const std::string& id, const std::function<bool(const Json&)>& until,
                std::chrono::seconds limit = std::chrono::minutes(10));
  Json wait_final(const std::string& id, std::chrono::seconds limit = std::chrono::minutes(10));

 private:
  std::filesystem::path data_;
  pid_t pid_ = -1;
  std::uint16_t port_ = 0;
};

// A request that a tiny random checkpoint makes in about a second.
nlohmann::json tiny_request(int frames = 23, std::uint64_t seed = 1);
// What `generate` says the latents of that request are.
std::string undisturbed_hash(const nlohmann::json& request);
bool is_final(const nlohmann::json& video);

}  // namespace seamwright
