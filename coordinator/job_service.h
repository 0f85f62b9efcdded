// What the service can do with jobs, as its HTTP surface sees it: the seam between the API on one
// side and store, queue and gangs on the other.
// Threads: all calls from any thread; none blocks longer than one durable write. Event handlers run
// on the service's own thread and must not call back into the service.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/request.h"

namespace seamwright::coordinator {

// A refusal in the shape of the API: {"error": {message, type, param, code}} and a status.
class ApiError : public std::runtime_error {
 public:
  ApiError(int status, std::string type, std::string code, std::string param,
           const std::string& message)
      : std::runtime_error(message),
        status(status),
        type(std::move(type)),
        code(std::move(code)),
        param(std::move(param)) {}
  int status;         // HTTP
  std::string type;   // "invalid_request_error", "rate_limit_error", "server_error" ...
  std::string code;   // one word a program can act on: "video_not_ready", "queue_full" ...
  std::string param;  // the field that is wrong; empty = null
  // Seconds after which trying again may help; 0 = it will not (x-should-retry: false).
  int retry_after_s = 0;
};

// A cancelled job is kFailed with error code "cancelled": clients of the API know no other word.
enum class JobState { kQueued, kInProgress, kCompleted, kFailed };
std::string_view to_string(JobState state);  // "queued", "in_progress", "completed", "failed"

// A file that a request starts from. The request's own fields hold its name, never a path.
struct GivenFile {
  std::string name;  // "sha256:..." of an upload; the id of the video whose file it is
  std::shared_ptr<const std::string> bytes;  // of an upload
};

struct Submission {
  JobRequest request;
  int priority = 0;             // higher first; equal ones in order of arrival
  std::string owner;            // name of the API key; "" = everyone
  std::string idempotency_key;  // "" = none; the same key and body give the same job again
  std::optional<std::string> remixed_from;
  bool endless = false;                  // ends by cancel, limit or deadline, as completed
  std::optional<std::int64_t> deadline;  // Unix seconds

  // Only on the way in. Names without a file here are those of the job it is remixed from.
  std::vector<GivenFile> files = {};
  bool as_long_as_input = false;  // frames is not known yet: those of the input video
  int active_jobs_max = 0;        // queued or running at once for this owner; 0 = no limit
};

struct JobFailure {
  std::string code;  // "cancelled", "poison_job", "out_of_disk", "invalid_model" ...
  std::string message;
};

// One job as it is now. Times are Unix seconds.
struct JobView {
  std::string id;  // "video_" and 32 hexadecimal digits
  Submission submission;
  JobState state = JobState::kQueued;
  int progress = 0;  // 0..100; never goes back
  std::int64_t created_at = 0;
  std::optional<std::int64_t> started_at, completed_at, expires_at;
  std::optional<JobFailure> error;

  std::optional<int> queue_position;  // 0 = next
  std::string waiting_for;            // why it is not running yet; "" when it is
  int attempt = 0;                    // 0 = never started
  std::string gang;                   // "" = none
  std::int64_t frames_done = 0, evaluations_done = 0, evaluations_total = 0;
  std::optional<double> first_frame_seconds, frames_per_second, seconds_left;
  std::string latents_sha256;    // of a completed job
  bool content_expired = false;  // the file went by retention
};

struct JobPage {
  std::vector<JobView> jobs;
  bool has_more = false;
};

// A piece of a job's history. `sequence` grows by one per job, from 1, and survives restarts.
struct JobEvent {
  std::uint64_t sequence = 0;
  std::string job;
  std::string kind;     // "state", "progress", "preview", "segment", "attempt", "log"
  nlohmann::json data;  // of the kind; see docs/api.md
  // `data` with video_id and sequence as text, made once for all who listen; null = not made yet.
  std::shared_ptr<const std::string> text = {};
};
// That text.
std::string event_text(const JobEvent& event);

// One closed piece of a video that is still being made (fragmented MP4).
struct SegmentView {
  std::int64_t first_frame = 0, end_frame = 0;
  std::filesystem::path file;
};

// Ends delivery when it is destroyed; then no handler is running any more.
class Subscription {
 public:
  virtual ~Subscription() = default;
};

struct HealthView {
  bool live = true, ready = true;
  std::vector<std::string> reasons;  // why not
};

class JobService {
 public:
  virtual ~JobService() = default;

  // Checks everything that can be known now (model present, model's own limits), stores the job
  // durably, then answers. Throws ApiError: 400 with the field, 429 "queue_full".
  virtual JobView submit(const Submission& submission) = 0;
  // `owner` "" sees every job; otherwise only its own. Throws ApiError 404 for others.
  virtual JobView get(const std::string& id, const std::string& owner) = 0;
  // Jobs after `after` ("" = from the start), newest first unless ascending. limit 0..100.
  virtual JobPage list(const std::string& after, int limit, bool ascending,
                       const std::string& owner) = 0;
  // Queued: ends at once. Running: the gang is told; the state follows. Final: 409.
  virtual JobView cancel(const std::string& id, const std::string& owner) = 0;
  // Cancels what runs and removes job, record and files. Throws ApiError 404.
  virtual void remove(const std::string& id, const std::string& owner) = 0;

  // The finished file. Throws ApiError 409 "video_not_ready", 410 "video_expired", 404.
  virtual std::filesystem::path video(const std::string& id, const std::string& owner) = 0;
  // The newest preview picture (PNG). Throws ApiError 404 "no_preview".
  virtual std::filesystem::path preview(const std::string& id, const std::string& owner) = 0;
  // Segments that are safe so far, in order; and whether more will come.
  struct Segments {
    std::vector<SegmentView> closed;
    bool complete = false;
  };
  virtual Segments segments(const std::string& id, const std::string& owner) = 0;
  // What each rank did when: {"ranks":[{"rank","tasks":[{"kind","window","step","begin","end"}]}]}.
  virtual nlohmann::json timeline(const std::string& id, const std::string& owner) = 0;

  // Past events from `after_sequence` on (bounded), then new ones as they happen. job "" = all jobs
  // the owner may see, new events only.
  virtual std::unique_ptr<Subscription> subscribe(const std::string& job, const std::string& owner,
                                                  std::uint64_t after_sequence,
                                                  std::function<void(const JobEvent&)> handler) = 0;

  virtual nlohmann::json models() = 0;   // [{"id","object":"model","created","owned_by", ...}]
  virtual nlohmann::json cluster() = 0;  // gangs: layout, hosts, state, job, heartbeat, reasons
  virtual HealthView health() = 0;       // without doing work
  // Gang operators: no new work for a gang (or all, ""), which ends when it is idle.
  virtual void drain(const std::string& gang) = 0;

  // Numbers for /metrics by name; monotonic ones end in _total.
  struct Metric {
    std::string name, help;
    double value = 0;
    std::vector<std::pair<std::string, std::string>> labels;
  };
  virtual std::vector<Metric> metrics() = 0;
};

}  // namespace seamwright::coordinator
