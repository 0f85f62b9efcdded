#include "tests/unit/coordinator/http/fake_service.h"

#include <fmt/core.h>

#include <algorithm>
#include <ctime>

namespace seamwright::coordinator {
namespace {

constexpr char kInvalid[] = "invalid_request_error";

std::int64_t now_seconds() { return static_cast<std::int64_t>(std::time(nullptr)); }
bool is_final(JobState state) {
  return state != JobState::kQueued && state != JobState::kInProgress;
}

}  // namespace

// A subscriber's handler runs under its own mutex, so that ending it waits for the handler.
struct FakeService::Subscriber {
  std::string job, owner;
  std::function<void(const JobEvent&)> handler;
  std::deque<JobEvent> waiting;  // guarded by the service's mutex
  std::mutex running;
  bool ended = false;  // guarded by running
};

class FakeService::Handle : public Subscription {
 public:
  Handle(FakeService& service, std::shared_ptr<Subscriber> subscriber)
      : service_(service), subscriber_(std::move(subscriber)) {}
  ~Handle() override {
    {
      const std::scoped_lock lock(subscriber_->running);
      subscriber_->ended = true;
    }
    const std::scoped_lock lock(service_.mutex_);
    service_.subscribers_.remove(subscriber_);
  }

 private:
  FakeService& service_;
  std::shared_ptr<Subscriber> subscriber_;
};

FakeService::FakeService() : thread_([this] { deliver_all(); }) {}

FakeService::~FakeService() {
  {
    const std::scoped_lock lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

FakeService::Job& FakeService::find(const std::string& id, const std::string& owner) {
  const auto found = jobs_.find(id);
  if (found == jobs_.end() || (!owner.empty() && found->second.view.submission.owner != owner)) {
    throw ApiError(404, kInvalid, "not_found", "", "there is no video '" + id + "'");
  }
  return found->second;
}

JobView FakeService::submit(const Submission& submission) {
  const std::scoped_lock lock(mutex_);
  for (auto& [id, job] : jobs_) {
    const Submission& other = job.view.submission;
    if (!submission.idempotency_key.empty() && other.owner == submission.owner &&
        other.idempotency_key == submission.idempotency_key) {
      if (!(other.request == submission.request)) {
        throw ApiError(409, kInvalid, "idempotency_key_reused", "Idempotency-Key",
                       "the key was used for another request");
      }
      return job.view;
    }
  }
  if (submission.request.model == "no-such-model") {
    throw ApiError(400, kInvalid, "model_not_found", "model", "there is no such model");
  }
  const auto active = std::count_if(jobs_.begin(), jobs_.end(), [&](const auto& entry) {
    const JobView& view = entry.second.view;
    return view.submission.owner == submission.owner &&
           (view.state == JobState::kQueued || view.state == JobState::kInProgress);
  });
  if (submission.active_jobs_max > 0 && active >= submission.active_jobs_max) {
    throw ApiError(429, "rate_limit_error", "too_many_jobs", "", "wait for one to end");
  }
  const auto queued =
      static_cast<std::size_t>(std::count_if(jobs_.begin(), jobs_.end(), [](const auto& entry) {
        return entry.second.view.state == JobState::kQueued;
      }));
  if (queued >= queue_limit) {
    ApiError full(429, "rate_limit_error", "queue_full", "", "the queue is full");
    full.retry_after_s = 7;
    throw full;
  }
  Job job;
  job.view.id = fmt::format("video_{:032x}", next_id_++);
  job.view.submission = submission;
  job.view.created_at = now_seconds();
  job.view.queue_position = static_cast<int>(queued);
  job.view.waiting_for = "no gang is free";
  const std::string id = job.view.id;
  order_.push_back(id);
  Job& stored = jobs_[id] = std::move(job);
  emit_locked(stored, "state", {{"status", "queued"}});
  if (!auto_video_.empty()) {
    due_.emplace(std::chrono::steady_clock::now() + auto_after_, id);
    changed_.notify_all();
  }
  return stored.view;
}

JobView FakeService::get(const std::string& id, const std::string& owner) {
  const std::scoped_lock lock(mutex_);
  return find(id, owner).view;
}

JobPage FakeService::list(const std::string& after, int limit, bool ascending,
                          const std::string& owner) {
  const std::scoped_lock lock(mutex_);
  std::vector<std::string> ids;
  for (const auto& id : order_) {
    if (owner.empty() || jobs_.at(id).view.submission.owner == owner) ids.push_back(id);
  }
  if (!ascending) std::reverse(ids.begin(), ids.end());
  auto at = ids.begin();
  if (!after.empty()) {
    at = std::find(ids.begin(), ids.end(), after);
    if (at == ids.end()) throw ApiError(404, kInvalid, "not_found", "after", "no such video");
    ++at;
  }
  JobPage page;
  for (; at != ids.end() && static_cast<int>(page.jobs.size()) < limit; ++at) {
    page.jobs.push_back(jobs_.at(*at).view);
  }
  page.has_more = at != ids.end();
  return page;
}

void FakeService::state_changed(Job& job, JobState state) {
  job.view.state = state;
  job.view.queue_position.reset();
  job.view.waiting_for.clear();
  if (is_final(state)) job.view.completed_at = now_seconds();
  job.segments.complete = is_final(state);
  emit_locked(job, "state", {{"status", to_string(state)}});
}

JobView FakeService::cancel(const std::string& id, const std::string& owner) {
  const std::scoped_lock lock(mutex_);
  Job& job = find(id, owner);
  if (is_final(job.view.state)) {
    throw ApiError(409, kInvalid, "video_already_final", "", "the video is finished");
  }
  job.view.error = JobFailure{"cancelled", "cancelled on request"};
  state_changed(job, JobState::kFailed);
  return job.view;
}

void FakeService::remove(const std::string& id, const std::string& owner) {
  const std::scoped_lock lock(mutex_);
  Job& job = find(id, owner);
  if (!is_final(job.view.state)) state_changed(job, JobState::kFailed);
  jobs_.erase(id);
  std::erase(order_, id);
}

std::filesystem::path FakeService::video(const std::string& id, const std::string& owner) {
  const std::scoped_lock lock(mutex_);
  Job& job = find(id, owner);
  if (job.view.content_expired) {
    throw ApiError(410, kInvalid, "video_expired", "", "the file went by retention");
  }
  if (job.view.state != JobState::kCompleted) {
    throw ApiError(409, kInvalid, "video_not_ready", "", "the video is not finished");
  }
  return job.video;
}

std::filesystem::path FakeService::preview(const std::string& id, const std::string& owner) {
  const std::scoped_lock lock(mutex_);
  Job& job = find(id, owner);
  if (job.video.empty()) throw ApiError(404, kInvalid, "no_preview", "", "no preview yet");
  return job.video;
}

JobService::Segments FakeService::segments(const std::string& id, const std::string& owner) {
  const std::scoped_lock lock(mutex_);
  return find(id, owner).segments;
}

nlohmann::json FakeService::timeline(const std::string& id, const std::string& owner) {
  const std::scoped_lock lock(mutex_);
  find(id, owner);
  return {{"ranks", {{{"rank", 0}, {"tasks", nlohmann::json::array()}}}}};
}

std::unique_ptr<Subscription> FakeService::subscribe(const std::string& job,
                                                     const std::string& owner,
                                                     std::uint64_t after_sequence,
                                                     std::function<void(const JobEvent&)> handler) {
  if (!takes_subscribers) throw ApiError(503, "server_error", "shutting_down", "", "no more");
  const std::scoped_lock lock(mutex_);
  auto subscriber = std::make_shared<Subscriber>();
  subscriber->job = job;
  subscriber->owner = owner;
  subscriber->handler = std::move(handler);
  if (!job.empty()) {
    for (const JobEvent& event : find(job, owner).events) {
      if (event.sequence > after_sequence) subscriber->waiting.push_back(event);
    }
  }
  subscribers_.push_back(subscriber);
  changed_.notify_all();
  return std::make_unique<Handle>(*this, subscriber);
}

void FakeService::emit_locked(Job& job, const std::string& kind, nlohmann::json data) {
  const JobEvent event{job.events.size() + 1, job.view.id, kind, std::move(data)};
  job.events.push_back(event);
  for (const auto& subscriber : subscribers_) {
    const bool wanted =
        subscriber->job == event.job ||
        (subscriber->job.empty() &&
         (subscriber->owner.empty() || subscriber->owner == job.view.submission.owner));
    if (wanted) subscriber->waiting.push_back(event);
  }
  changed_.notify_all();
}

void FakeService::deliver_all() {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    while (!due_.empty() && due_.begin()->first <= std::chrono::steady_clock::now()) {
      const std::string id = due_.begin()->second;
      due_.erase(due_.begin());
      if (jobs_.contains(id) && !is_final(jobs_.at(id).view.state)) complete(id, auto_video_);
    }
    std::shared_ptr<Subscriber> next;
    JobEvent event;
    for (const auto& subscriber : subscribers_) {
      if (subscriber->waiting.empty()) continue;
      next = subscriber;
      event = subscriber->waiting.front();
      subscriber->waiting.pop_front();
      break;
    }
    if (next) {
      lock.unlock();
      {
        const std::scoped_lock running(next->running);
        if (!next->ended) next->handler(event);
      }
      lock.lock();
      continue;
    }
    changed_.wait_for(lock, std::chrono::milliseconds(due_.empty() ? 1000 : 10));
  }
}

nlohmann::json FakeService::models() {
  return {{{"id", "demo"}, {"object", "model"}, {"created", 0}, {"owned_by", "seamwright"}},
          {{"id", "demo/few_step"}, {"object", "model"}, {"created", 0}, {"owned_by", "x"}}};
}
nlohmann::json FakeService::cluster() { return {{"gangs", nlohmann::json::array()}}; }
HealthView FakeService::health() { return health_view; }
void FakeService::drain(const std::string& gang) { drained.push_back(gang); }
std::vector<JobService::Metric> FakeService::metrics() {
  return {{"seamwright_jobs_total", "Jobs accepted", 3, {{"state", "completed"}}}};
}

void FakeService::start(const std::string& id) {
  const std::scoped_lock lock(mutex_);
  state_changed(find(id, ""), JobState::kInProgress);
}

void FakeService::add_segment(const std::string& id, const std::filesystem::path& file) {
  const std::scoped_lock lock(mutex_);
  Job& job = find(id, "");
  const auto count = static_cast<std::int64_t>(job.segments.closed.size());
  job.segments.closed.push_back({count * 8, count * 8 + 8, file});
  emit_locked(job, "segment", {{"first_frame", count * 8}});
}

void FakeService::drop_segments(const std::string& id) {
  const std::scoped_lock lock(mutex_);
  find(id, "").segments.closed.clear();
}

void FakeService::complete(const std::string& id, const std::filesystem::path& file) {
  const std::scoped_lock lock(mutex_);
  Job& job = find(id, "");
  job.video = file;
  job.view.progress = 100;
  job.view.latents_sha256 = std::string(64, 'a');
  state_changed(job, JobState::kCompleted);
}

void FakeService::expire(const std::string& id) {
  const std::scoped_lock lock(mutex_);
  find(id, "").view.content_expired = true;
}

void FakeService::emit(const std::string& id, const std::string& kind, nlohmann::json data) {
  const std::scoped_lock lock(mutex_);
  Job& job = find(id, "");
  if (kind == "progress") {  // who asks for the job hears the same
    job.view.progress = std::max(job.view.progress, data.value("progress", 0));
    job.view.frames_done = data.value("frames", job.view.frames_done);
  }
  emit_locked(job, kind, std::move(data));
}

std::size_t FakeService::subscriptions() {
  const std::scoped_lock lock(mutex_);
  return subscribers_.size();
}

void FakeService::complete_all_with(const std::filesystem::path& file,
                                    std::chrono::milliseconds after) {
  const std::scoped_lock lock(mutex_);
  auto_video_ = file;
  auto_after_ = after;
}

}  // namespace seamwright::coordinator
