#include "coordinator/http/http_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <map>

namespace seamwright::coordinator::http {
namespace {

const prometheus::Histogram::BucketBoundaries& duration_buckets() {
  static const prometheus::Histogram::BucketBoundaries kBuckets{
      0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10};
  return kBuckets;
}

}  // namespace

struct HttpMetrics::State {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& requests =
      prometheus::BuildCounter()
          .Name("seamwright_http_requests_total")
          .Help("Requests answered, by route, method and status")
          .Register(registry);
  prometheus::Family<prometheus::Histogram>& durations =
      prometheus::BuildHistogram()
          .Name("seamwright_http_request_seconds")
          .Help("Time from a whole request to the start of its answer")
          .Register(registry);
  prometheus::Family<prometheus::Counter>& refusals =
      prometheus::BuildCounter()
          .Name("seamwright_http_refused_connections_total")
          .Help("Connections ended by a limit, by reason")
          .Register(registry);
  prometheus::Gauge& connections = prometheus::BuildGauge()
                                       .Name("seamwright_http_connections")
                                       .Help("Open connections")
                                       .Register(registry)
                                       .Add({});
  prometheus::Gauge& streams = prometheus::BuildGauge()
                                   .Name("seamwright_http_streams")
                                   .Help("Open event and video streams")
                                   .Register(registry)
                                   .Add({});
};

// Counters that start at nothing are there from the start: a first refusal then shows as one more.
HttpMetrics::HttpMetrics() : state_(std::make_unique<State>()) {
  for (const char* reason : {"timeout", "too_many"}) state_->refusals.Add({{"reason", reason}});
}
HttpMetrics::~HttpMetrics() = default;

void HttpMetrics::request_done(const std::string& route, const std::string& method, int status,
                               double seconds) {
  // Patterns and a few methods only: what clients invent must not become a label.
  const bool known = method == "GET" || method == "HEAD" || method == "POST" || method == "DELETE";
  const std::string method_label = known ? method : "other";
  const std::string route_label = route.empty() ? "none" : route;
  state_->requests
      .Add({{"route", route_label}, {"method", method_label}, {"status", std::to_string(status)}})
      .Increment();
  state_->durations.Add({{"route", route_label}}, duration_buckets()).Observe(seconds);
}

void HttpMetrics::connection_opened() { state_->connections.Increment(); }
void HttpMetrics::connection_closed() { state_->connections.Decrement(); }
void HttpMetrics::connection_refused(const std::string& reason) {
  state_->refusals.Add({{"reason", reason}}).Increment();
}
void HttpMetrics::stream_opened() { state_->streams.Increment(); }
void HttpMetrics::stream_closed() { state_->streams.Decrement(); }

std::string HttpMetrics::text(const std::vector<JobService::Metric>& service_metrics) {
  std::map<std::string, prometheus::MetricFamily> families;
  for (const auto& metric : service_metrics) {
    prometheus::MetricFamily& family = families[metric.name];
    const bool counter = metric.name.ends_with("_total");
    family.name = metric.name;
    family.help = metric.help;
    family.type = counter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
    prometheus::ClientMetric value;
    for (const auto& [name, label] : metric.labels) value.label.push_back({name, label});
    (counter ? value.counter.value : value.gauge.value) = metric.value;
    family.metric.push_back(std::move(value));
  }
  std::vector<prometheus::MetricFamily> all = state_->registry.Collect();
  for (auto& [name, family] : families) all.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(all);
}

}  // namespace seamwright::coordinator::http
