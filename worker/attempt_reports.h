// What rank 0 tells the coordinator of a running attempt: progress, notes, previews, spans; and the
// words for its end.
// Threads: hooks on the threads of the ranks and the one that writes frames; progress one call at a
// time, frames too.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <string>

#include "worker/gang_link.h"
#include "worker/generate.h"
#include "worker/remote_store.h"

namespace seamwright::worker {

class AttemptReports {
 public:
  // Says again at this interval that the attempt goes on, while it does.
  AttemptReports(GangLink& link, AttemptName name, const JobRequest& request,
                 std::chrono::milliseconds alive_interval = std::chrono::milliseconds(5000));
  ~AttemptReports();  // tells what is not told yet
  GenerateHooks hooks();

 private:
  using Clock = std::chrono::steady_clock;
  void progress(const Progress& progress);
  void alive();
  void frames(const DecodedChunk& chunk);
  void task(int rank, const scheduling::Task& task, Clock::time_point begin, Clock::time_point end);
  void send_tasks(int rank, nlohmann::json tasks);

  GangLink& link_;
  const AttemptName name_;
  const JobRequest& request_;
  const std::chrono::milliseconds alive_interval_;
  Clock::time_point last_progress_{}, last_preview_{};
  const Clock::time_point begin_ = Clock::now();
  const double begin_unix_;

  std::mutex mutex_;      // the members below: ranks of this process report on threads of their own
  nlohmann::json state_;  // what was last said of progress
  Clock::time_point said_{};
  struct Spans {
    nlohmann::json tasks = nlohmann::json::array();
    Clock::time_point sent{};
  };
  std::map<int, Spans> spans_;
};

// The payload of attempt.done: the report without the request, and what the file's metadata needs.
comm::Bytes end_report(const GenerateResult& result);
nlohmann::json failure_report(const AttemptName& name, const Error& error);

}  // namespace seamwright::worker
