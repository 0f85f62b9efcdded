// What each rank did when, of jobs that run: bounded, in memory; written to a file when a job ends.
// Threads: all calls from any thread.
#pragma once

#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>

namespace seamwright::coordinator {

class Timelines {
 public:
  // Spans of one rank: [{"kind","window","step","begin","end"}].
  void add(const std::string& job, int rank, const nlohmann::json& spans);
  // {"ranks":[{"rank","tasks":[...]}]}; ranks is empty when nothing is known.
  nlohmann::json get(const std::string& job) const;
  // Takes it out.
  nlohmann::json take(const std::string& job);

 private:
  static nlohmann::json document(const std::map<int, nlohmann::json>& ranks);
  mutable std::mutex mutex_;
  std::map<std::string, std::map<int, nlohmann::json>> jobs_;
};

}  // namespace seamwright::coordinator
