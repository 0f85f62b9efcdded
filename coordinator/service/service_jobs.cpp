// What the HTTP surface calls.
#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "coordinator/service/service_impl.h"
#include "media/files.h"

namespace seamwright::coordinator {
namespace {

constexpr std::int64_t kMaxTimelineBytes = 64 << 20;

}  // namespace

JobTable::RecordPtr ServiceImpl::owned(const std::string& id, const std::string& owner) const {
  auto record = table_.find(id, owner);
  if (!record) no_such_job(id);
  return record;
}

JobView ServiceImpl::get(const std::string& id, const std::string& owner) {
  return table_.view(id, owner);
}

JobPage ServiceImpl::list(const std::string& after, int limit, bool ascending,
                          const std::string& owner) {
  return table_.page(after, std::clamp(limit, 0, 100), ascending, owner);
}

// Ends a job for good: its gang, if any, hears of it elsewhere.
void ServiceImpl::end_job(Ledger& ledger, const std::string& id, JobState state,
                          std::optional<JobFailure> failure, bool keep_segments) {
  auto& job = ledger.edit(id);
  job.view.state = state;
  job.view.completed_at = unix_now();
  job.view.error = std::move(failure);
  job.gang_instance.clear();
  job.assembling = false;
  const auto attempt = job.view.attempt;
  const auto& error = job.view.error;
  Json data = {{"state", to_string(state)}};
  if (error) data["error"] = {{"code", error->code}, {"message", error->message}};
  const std::string outcome = error ? error->code : "completed";
  const bool cancelled = error && error->code == "cancelled";
  if (state == JobState::kCompleted) {
    job.view.progress = 100;
    job.view.gang.clear();
    job.view.expires_at = *job.view.completed_at + options_.retention_s;
  }
  ledger.event(id, "state", std::move(data));
  if (attempt > 0) {
    ledger.write([id, attempt, outcome](JobStore& store) {
      store.end_attempt(id, attempt, unix_now(), outcome);
    });
  }
  ledger.after([this, state, cancelled] {
    auto& counter = state == JobState::kCompleted ? counters_.completed
                    : cancelled                   ? counters_.cancelled
                                                  : counters_.failed;
    ++counter;
  });
  orphans_.erase(id);
  reschedule(ledger);
  // Of a completed job, viewers may still follow the segments for a while.
  discard_durable(ledger, id, state != JobState::kCompleted && !keep_segments);
  ledger.after([this, id] {
    post_side([this, id] {
      const auto text = timelines_.take(id).dump();
      folder_.write_lightly(folder_.timeline(id), std::as_bytes(std::span(text)));
    });
  });
}

// Records, and segments too where no video will be made of them.
void ServiceImpl::discard_durable(Ledger& ledger, const std::string& id, bool segments) {
  if (segments) forget_artifacts(ledger, id, "segment");
  ledger.after([this, id] { post_side([this, id] { records_.remove_all(id); }); });
}

JobView ServiceImpl::cancel(const std::string& id, const std::string& owner) {
  work_->call([&](Ledger& ledger) {
    const auto* job = ledger.find(id);
    if (job == nullptr || (!owner.empty() && job->view.submission.owner != owner)) no_such_job(id);
    if (job->final()) {
      throw ApiError(409, "invalid_request_error", "video_already_final", "video_id",
                     fmt::format("the video is {} already", to_string(job->view.state)));
    }
    // It was cancelled already, or reached its limit: what there is becomes the video. A client
    // whose answer was lost asks again.
    if (job->assembling && job->view.submission.endless) return;
    ledger.label("cancel");
    const auto pieces = artifacts_of(id, "segment");
    if (job->waits() && job->view.submission.endless && !pieces.empty()) {
      begin_assembly(ledger, id);
      return;
    }
    if (job->waits() || job->assembling) {
      end_job(ledger, id, JobState::kFailed, JobFailure{"cancelled", "cancelled on request"});
      return;
    }
    auto& changed = ledger.edit(id);
    changed.cancel_requested = true;
    // An endless job has no other end: what is there is the video.
    changed.ends_completed = changed.view.submission.endless;
    if (auto* gang = gang_running(id, changed.view.attempt); gang != nullptr && gang->client) {
      cancel_on_gang(ledger, *gang, "cancel");
    } else if (!changed.ends_completed) {
      end_job(ledger, id, JobState::kFailed, JobFailure{"cancelled", "cancelled on request"});
    }
  });
  return table_.view(id, owner);
}

void ServiceImpl::remove(const std::string& id, const std::string& owner) {
  work_->call([&](Ledger& ledger) {
    const auto* job = ledger.find(id);
    if (job == nullptr || (!owner.empty() && job->view.submission.owner != owner)) no_such_job(id);
    ledger.label("remove");
    if (auto* gang = gang_running(id, job->view.attempt); gang != nullptr) {
      cancel_on_gang(ledger, *gang, "remove");
    }
    orphans_.erase(id);
    reschedule(ledger);
    forget_job(ledger, id);
  });
}

std::filesystem::path ServiceImpl::video(const std::string& id, const std::string& owner) {
  return video_file(id, owner);
}

std::filesystem::path ServiceImpl::video_file(const std::string& id,
                                              const std::string& owner) const {
  const auto job = owned(id, owner);
  if (job->view.content_expired) {
    throw ApiError(410, "invalid_request_error", "video_expired", "video_id",
                   "the file is no longer kept: make it again with the same request and seed");
  }
  const auto files = artifacts_of(id, "video");
  if (job->view.state != JobState::kCompleted || files.empty()) {
    throw ApiError(409, "invalid_request_error", "video_not_ready", "video_id",
                   fmt::format("the video is {}", to_string(job->view.state)));
  }
  return folder_.file(files.front().file);
}

std::filesystem::path ServiceImpl::preview(const std::string& id, const std::string& owner) {
  owned(id, owner);
  const auto file = folder_.preview(id);
  std::error_code error;
  if (!std::filesystem::exists(file, error)) {
    throw ApiError(404, "invalid_request_error", "no_preview", "video_id",
                   "there is no preview yet");
  }
  return file;
}

JobService::Segments ServiceImpl::segments(const std::string& id, const std::string& owner) {
  const auto job = owned(id, owner);
  Segments result;
  for (const auto& segment : artifacts_of(id, "segment")) {
    result.closed.push_back({segment.first_frame, segment.end_frame, folder_.file(segment.file)});
  }
  result.complete = job->final() || job->assembling;
  return result;
}

nlohmann::json ServiceImpl::timeline(const std::string& id, const std::string& owner) {
  const auto job = owned(id, owner);
  if (!job->final()) return timelines_.get(id);
  std::error_code error;
  const auto file = folder_.timeline(id);
  if (!std::filesystem::exists(file, error)) return timelines_.get(id);
  return Json::parse(media::read_file(file, kMaxTimelineBytes), nullptr, false);
}

std::unique_ptr<Subscription> ServiceImpl::subscribe(const std::string& job,
                                                     const std::string& owner,
                                                     std::uint64_t after_sequence,
                                                     std::function<void(const JobEvent&)> handler) {
  if (job.empty()) return hub_->subscribe("", owner, std::move(handler));
  owned(job, owner);
  std::unique_ptr<Subscription> subscription;
  // Between two batches: what is stored was delivered, what is not yet stored was not.
  work_->call([&](Ledger&) {
    subscription =
        hub_->subscribe(job, owner, std::move(handler), store_.events(job, after_sequence));
  });
  return subscription;
}

nlohmann::json ServiceImpl::models() { return options_.models ? options_.models() : Json::array(); }

nlohmann::json ServiceImpl::cluster() {
  const std::lock_guard lock(cluster_mutex_);
  return cluster_;
}

HealthView ServiceImpl::health() {
  HealthView health;
  if (stopped_) {
    health.ready = false;
    health.reasons.emplace_back("the service is shutting down");
  }
  if (const auto trouble = work_->trouble(); !trouble.empty()) {
    health.ready = false;
    health.reasons.push_back("nothing can be stored: " + trouble);
  }
  const std::lock_guard lock(cluster_mutex_);
  if (gangs_ready_ + gangs_busy_ == 0) {
    health.ready = false;
    health.reasons.emplace_back("no gang is connected");
  }
  return health;
}

std::vector<JobService::Metric> ServiceImpl::metrics() {
  const auto number = [](const auto& value) { return static_cast<double>(value); };
  std::vector<Metric> all;
  for (const auto state :
       {JobState::kQueued, JobState::kInProgress, JobState::kCompleted, JobState::kFailed}) {
    all.push_back({"seamwright_jobs",
                   "Jobs stored, by state",
                   number(table_.count(state)),
                   {{"state", std::string(to_string(state))}}});
  }
  const auto total = [&](const char* name, const char* help, std::int64_t value) {
    all.push_back({name, help, number(value), {}});
  };
  total("seamwright_jobs_submitted_total", "Jobs accepted", counters_.submitted);
  total("seamwright_jobs_completed_total", "Jobs completed", counters_.completed);
  total("seamwright_jobs_failed_total", "Jobs failed", counters_.failed);
  total("seamwright_jobs_cancelled_total", "Jobs cancelled", counters_.cancelled);
  total("seamwright_attempts_total", "Attempts handed to gangs", counters_.attempts);
  total("seamwright_gang_losses_total", "Attempts lost with their gang", counters_.losses);
  total("seamwright_segments_total", "Segments made durable", counters_.segments);
  total("seamwright_records_total", "Checkpoint records made durable", counters_.records);
  total("seamwright_record_bytes_total", "Bytes of those records", counters_.record_bytes);
  total("seamwright_frames_total", "Frames of completed videos", counters_.frames);
  total("seamwright_stale_messages_total", "Messages of fenced attempts refused", counters_.stale);
  total("seamwright_event_subscribers", "Event streams open", static_cast<int>(hub_->size()));
  total("seamwright_file_work_waiting", "Pieces of file work waiting",
        static_cast<std::int64_t>(side_->waiting()));
  const std::lock_guard lock(cluster_mutex_);
  all.push_back({"seamwright_gangs", "Gangs connected", number(gangs_ready_), {{"state", "idle"}}});
  all.push_back({"seamwright_gangs", "Gangs connected", number(gangs_busy_), {{"state", "busy"}}});
  return all;
}

}  // namespace seamwright::coordinator
