// What the HTTP surface calls.
#include <algorithm>
#include <random>

#include "base/error.h"
#include "base/log.h"
#include "base/sha256.h"
#include "coordinator/service/service_impl.h"
#include "media/files.h"

namespace seamwright::coordinator {
namespace {

constexpr std::int64_t kMaxTimelineBytes = 64 << 20;
constexpr std::int64_t kEndlessFrames = 1'000'000;

std::string new_id() {
  static thread_local std::random_device device;
  std::string id = "video_";
  for (int i = 0; i < 4; ++i) id += fmt::format("{:08x}", device());
  return id;
}

// The field a message of request checking is about: the first one it names.
std::string field_in(const std::string& message) {
  const auto fields = to_json(JobRequest{});
  std::string best;
  std::size_t best_at = std::string::npos;
  for (const auto& [name, value] : fields.items()) {
    std::size_t at = message.find(name);
    const auto letter = [&](std::size_t i) {
      return i < message.size() &&
             (std::isalnum(static_cast<unsigned char>(message[i])) != 0 || message[i] == '_');
    };
    while (at != std::string::npos && ((at > 0 && letter(at - 1)) || letter(at + name.size()))) {
      at = message.find(name, at + 1);
    }
    if (at < best_at) {
      best_at = at;
      best = name;
    }
  }
  return best;
}

}  // namespace

ApiError refusal(const Error& error) {
  const std::string message = error.what();
  switch (error.code()) {
    case ErrorCode::kInvalidArgument:
      return {400, "invalid_request_error", "invalid_value", field_in(message), message};
    case ErrorCode::kUnsupported:
      return {400, "invalid_request_error", "unsupported", field_in(message), message};
    case ErrorCode::kNotFound:
      return {400, "invalid_request_error", "model_not_found", "model", message};
    case ErrorCode::kCorrupt:
      return {400, "invalid_request_error", "invalid_model", "model", message};
    default:
      return {500, "server_error", std::string(to_string(error.code())), "", message};
  }
}

JobTable::RecordPtr ServiceImpl::owned(const std::string& id, const std::string& owner) const {
  auto record = table_.find(id, owner);
  if (!record) no_such_job(id);
  return record;
}

// The job that this key made before, or "". Throws ApiError 409 if it was for another body.
std::string ServiceImpl::known_key(Ledger& ledger, const Submission& s, const std::string& hash) {
  if (s.idempotency_key.empty()) return {};
  const auto found = keys_.find(s.owner + '\n' + s.idempotency_key);
  if (found == keys_.end() || ledger.find(found->second.job) == nullptr) return {};
  if (found->second.body_hash != hash) {
    throw ApiError(409, "invalid_request_error", "idempotency_key_reused", "Idempotency-Key",
                   "this idempotency key was used for another request: use a new key, or send the "
                   "same request");
  }
  return found->second.job;
}

JobView ServiceImpl::submit(const Submission& submission) {
  std::string hash;
  JobRecord record;
  record.view.id = new_id();
  record.view.submission = submission;
  record.view.submission.files.clear();
  const ArtifactList inputs = take_inputs(record.view.id, submission);
  // Files of a job that is not accepted, or that was accepted before, go again.
  bool accepted = false;
  const std::shared_ptr<void> undo(nullptr, [&](void*) {
    if (!accepted) drop_inputs(inputs);
  });
  try {
    const auto text = submission_text(submission);
    hash = to_hex(sha256(std::as_bytes(std::span(text.data(), text.size()))));
    auto& request = record.view.submission.request;
    if (submission.endless) {
      // Longer than anybody waits; memory does not depend on it in streaming order.
      request.frames = kEndlessFrames;
      request.order = "streaming";
    }
    request = checked(submission, request, inputs);
  } catch (const Error& error) {
    throw refusal(error);
  } catch (const Json::exception&) {
    throw ApiError(400, "invalid_request_error", "invalid_encoding", "", "text must be UTF-8");
  }
  std::string id = record.view.id;
  const std::string key = submission.owner + '\n' + submission.idempotency_key;
  try {
    work_->call([&](Ledger& ledger) {
      if (const auto known = known_key(ledger, submission, hash); !known.empty()) {
        id = known;
        return;
      }
      if (static_cast<int>(table_.count(JobState::kQueued)) >= options_.queue_limit) {
        ApiError full(429, "rate_limit_error", "queue_full", "",
                      fmt::format("{} jobs are waiting, which is the limit: try again later",
                                  options_.queue_limit));
        full.retry_after_s = 30;
        throw full;
      }
      record.arrival = next_arrival_++;
      record.view.created_at = unix_now();
      ledger.label("submit");
      ledger.create(record);
      for (const auto& input : inputs) remember(ledger, input);
      ledger.event(id, "state", {{"state", "queued"}});
      if (!submission.idempotency_key.empty()) {
        const IdempotencyKey entry{submission.owner, submission.idempotency_key, hash, id,
                                   record.view.created_at};
        keys_[key] = entry;
        ledger.write([entry](JobStore& store) { store.put_key(entry); });
      }
      ledger.after([this, &accepted] {
        accepted = true;
        ++counters_.submitted;
      });
      reschedule(ledger);
    });
  } catch (...) {
    // The key must not outlive a job that was never stored.
    post_background(
        [this, key, id](Ledger& ledger) {
          const auto found = keys_.find(key);
          if (found != keys_.end() && ledger.find(found->second.job) == nullptr) keys_.erase(found);
        },
        false);
    throw;
  }
  return table_.view(id, submission.owner);
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
                          std::optional<JobFailure> failure) {
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
  discard_durable(ledger, id, state != JobState::kCompleted);
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
    for (const char* kind : {"video", "segment", "input"}) forget_artifacts(ledger, id, kind);
    ledger.remove(id);
    ledger.after([this, id] {
      post_side([this, id] {
        records_.remove_all(id);
        timelines_.take(id);
        std::error_code ignored;
        std::filesystem::remove(folder_.preview(id), ignored);
        std::filesystem::remove(folder_.timeline(id), ignored);
      });
    });
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
    result.closed.push_back(
        {segment.first_frame, segment.end_frame, folder_.file(segment.file)});
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

std::unique_ptr<Subscription> ServiceImpl::subscribe(
    const std::string& job, const std::string& owner, std::uint64_t after_sequence,
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

nlohmann::json ServiceImpl::models() {
  return options_.models ? options_.models() : Json::array();
}

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
  for (const auto state : {JobState::kQueued, JobState::kInProgress, JobState::kCompleted,
                           JobState::kFailed}) {
    all.push_back({"seamwright_jobs", "Jobs stored, by state", number(table_.count(state)),
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
