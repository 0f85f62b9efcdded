// Counts of the HTTP surface for /metrics: requests, durations, connections, refusals.
// Threads: safe from any thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "coordinator/job_service.h"

namespace seamwright::coordinator::http {

class HttpMetrics {
 public:
  HttpMetrics();
  ~HttpMetrics();

  void request_done(const std::string& route, const std::string& method, int status,
                    double seconds);
  void connection_opened();
  void connection_closed();
  void connection_refused(const std::string& reason);
  void stream_opened();
  void stream_closed();

  // Everything of ours and the service's, in Prometheus' text format.
  std::string text(const std::vector<JobService::Metric>& service_metrics);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace seamwright::coordinator::http
