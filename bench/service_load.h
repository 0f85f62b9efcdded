// Load on a running service: clients that poll, follow events and submit, and connections that only
// dawdle. Answers are checked while they are timed.
// Threads: call from one thread; everything runs on it.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace seamwright::bench {

// Times of one kind of request, milliseconds.
class Latencies {
 public:
  void add(double ms) { ms_.push_back(ms); }
  std::size_t count() const { return ms_.size(); }
  double quantile(double share) const;  // 0 when there are none
  nlohmann::json json() const;          // {count, p50_ms, p99_ms, max_ms}

 private:
  std::vector<double> ms_;
};

struct LoadOptions {
  std::uint16_t port = 0;
  std::vector<std::string> ids;  // of stored jobs, to ask for
  std::string watched;           // the job whose events are followed; asked for as well
  nlohmann::json submission;     // what is submitted again and again
  int pollers = 200, streams = 50;
  std::chrono::milliseconds poll_interval{1000}, submit_interval{100}, length{20000};
};

struct LoadResult {
  Latencies status, submit;
  std::int64_t events = 0, wrong = 0;     // answers that were not what they must be
  std::string first_wrong;                // the first of them
  std::vector<std::string> acknowledged;  // ids of accepted jobs
};
LoadResult run_load(const LoadOptions& options);

struct SlowOptions {
  std::uint16_t port = 0;
  int connections = 1000;  // each sends a byte of a header a second, and comes back when closed
  std::chrono::milliseconds length{12000};
};

struct SlowResult {
  Latencies live;  // GET /livez on a fresh connection each
  int most_open = 0;
  std::int64_t closed_by_server = 0, wrong = 0;
};
SlowResult run_slow(const SlowOptions& options);

// One GET; null when it did not go well.
nlohmann::json get_json(std::uint16_t port, const std::string& target);
nlohmann::json post_json(std::uint16_t port, const std::string& target, const nlohmann::json& body);

}  // namespace seamwright::bench
