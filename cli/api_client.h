// A client of the service's HTTP API: requests, downloads that go on where they broke off, and
// server-sent events.
// Threads: one thread.
#pragma once

#include <CLI/App.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

namespace seamwright::cli {

struct ServerAddress {
  std::string url = "http://127.0.0.1:8000";
  std::string api_key;
};
// Adds --server and --api-key, readable also from $SEAMWRIGHT_SERVER and $SEAMWRIGHT_API_KEY.
void add_server_options(CLI::App& app, ServerAddress& address);

struct ApiEvent {
  std::string id, kind;
  nlohmann::json data;
};

class ApiClient {
 public:
  // Throws kInvalidArgument on anything but http://HOST[:PORT].
  explicit ApiClient(const ServerAddress& address);
  ~ApiClient();

  // The answer's JSON. A refusal becomes an Error with the server's message and a fitting code; a
  // server that cannot be reached kUnavailable.
  nlohmann::json get(const std::string& target);
  // A connection that breaks is tried again: the idempotency key (drawn when empty) makes the
  // server give the same job again.
  nlohmann::json post(const std::string& target, const nlohmann::json& body,
                      std::string idempotency_key = "");

  // The same as multipart/form-data: the fields of `body` as text, and files by field name.
  nlohmann::json post_form(const std::string& target, const nlohmann::json& body,
                           const std::vector<std::pair<std::string, std::filesystem::path>>& files,
                           std::string idempotency_key = "");

  // Complete or absent; a transfer that breaks goes on where it was. `seen` gets bytes and total.
  void download(const std::string& target, const std::filesystem::path& file,
                const std::function<void(std::uint64_t, std::uint64_t)>& seen);

  // Calls `handler` for each event until it says false or the stream ends by itself; connects
  // again, with the last id, when the connection breaks.
  void events(const std::string& target, const std::function<bool(const ApiEvent&)>& handler);

 private:
  nlohmann::json post_body(const std::string& target, std::string body, const std::string& type,
                           std::string idempotency_key);
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace seamwright::cli
