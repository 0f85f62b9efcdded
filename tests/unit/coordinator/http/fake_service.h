// A JobService in memory for tests of the HTTP surface: jobs move only when a test moves them.
// Threads: safe from any thread; events come from a thread of its own, as the contract says.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "coordinator/job_service.h"

namespace seamwright::coordinator {

class FakeService : public JobService {
 public:
  FakeService();
  ~FakeService() override;

  JobView submit(const Submission& submission) override;
  JobView get(const std::string& id, const std::string& owner) override;
  JobPage list(const std::string& after, int limit, bool ascending,
               const std::string& owner) override;
  JobView cancel(const std::string& id, const std::string& owner) override;
  void remove(const std::string& id, const std::string& owner) override;
  std::filesystem::path video(const std::string& id, const std::string& owner) override;
  std::filesystem::path preview(const std::string& id, const std::string& owner) override;
  Segments segments(const std::string& id, const std::string& owner) override;
  nlohmann::json timeline(const std::string& id, const std::string& owner) override;
  std::unique_ptr<Subscription> subscribe(const std::string& job, const std::string& owner,
                                          std::uint64_t after_sequence,
                                          std::function<void(const JobEvent&)> handler) override;
  nlohmann::json models() override;
  nlohmann::json cluster() override;
  HealthView health() override;
  void drain(const std::string& gang) override;
  std::vector<Metric> metrics() override;

  // What tests do to it.
  void start(const std::string& id);  // in_progress
  void add_segment(const std::string& id, const std::filesystem::path& file);
  void drop_segments(const std::string& id);
  void complete(const std::string& id, const std::filesystem::path& file);
  void expire(const std::string& id);
  void emit(const std::string& id, const std::string& kind, nlohmann::json data);
  std::size_t subscriptions();
  // Every job completes `after` it was submitted, with this file (for clients that wait).
  void complete_all_with(const std::filesystem::path& file, std::chrono::milliseconds after);

  std::size_t queue_limit = 1'000'000;
  std::atomic<bool> takes_subscribers{true};
  HealthView health_view;
  std::vector<std::string> drained;

 private:
  struct Job {
    JobView view;
    std::filesystem::path video;
    Segments segments;
    std::vector<JobEvent> events;
  };
  struct Subscriber;
  class Handle;

  Job& find(const std::string& id, const std::string& owner);
  void emit_locked(Job& job, const std::string& kind, nlohmann::json data);
  void state_changed(Job& job, JobState state);
  void deliver_all();

  std::recursive_mutex mutex_;
  std::condition_variable_any changed_;
  std::map<std::string, Job> jobs_;
  std::vector<std::string> order_;  // of arrival
  std::list<std::shared_ptr<Subscriber>> subscribers_;
  std::uint64_t next_id_ = 1;
  std::filesystem::path auto_video_;
  std::chrono::milliseconds auto_after_{0};
  std::multimap<std::chrono::steady_clock::time_point, std::string> due_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace seamwright::coordinator
