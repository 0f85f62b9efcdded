// Who may use the service: named keys from a file, kept as hashes, each with its own limits.
// Threads: ApiKeys is safe from any thread.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/sha256.h"

namespace seamwright::coordinator::http {

struct ApiKey {
  std::string name;             // becomes the owner of the jobs
  Sha256Digest hash{};          // of the key itself
  bool admin = false;           // sees every job and may drain gangs
  int requests_per_minute = 0;  // 0 = no limit
  int active_jobs = 0;          // queued or running at once; 0 = no limit
};

class ApiKeys {
 public:
  ApiKeys();
  // One key a line: NAME KEY [admin] [requests_per_minute=N] [active_jobs=N]; # starts a comment.
  // Throws kInvalidArgument naming file and line, also when others than the owner may read the
  // file.
  static ApiKeys from_file(const std::filesystem::path& file);
  static ApiKeys parse(std::string_view text, const std::string& where);
  ~ApiKeys();
  ApiKeys(ApiKeys&&) noexcept;
  ApiKeys& operator=(ApiKeys&&) noexcept;

  bool empty() const;  // everyone may come in
  // The key presented, or nullptr. Compares with every key in constant time.
  const ApiKey* find(std::string_view presented) const;
  // The key of that name, or nullptr.
  const ApiKey* named(std::string_view name) const;
  // Counts a request against the key's limit: 0 = go on, otherwise seconds to wait.
  int take_request(const ApiKey& key, std::chrono::steady_clock::time_point now);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace seamwright::coordinator::http
