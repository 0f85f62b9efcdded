#include "coordinator/http/video_object.h"

#include <fmt/core.h>

#include <cmath>
#include <optional>

#include "base/request_fields.h"

namespace seamwright::coordinator::http {
namespace {

using Json = nlohmann::json;

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}
Json or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

std::string size_text(const JobRequest& request) {
  // 0 x 0 asks for the model's own size, which the service may not have looked up yet.
  if (request.width == 0) return "auto";
  return fmt::format("{}x{}", request.width, request.height);
}

Json error_object(const std::optional<JobFailure>& error) {
  return error ? Json{{"code", error->code}, {"message", error->message}} : Json();
}

// Folders of the server are nobody's business.
Json request_object(const JobRequest& request) {
  Json all = to_json(request);
  for (const auto& field : job_request_fields()) {
    if (field.local) all.erase(std::string(field.name));
  }
  return all;
}

}  // namespace

std::string seconds_text(std::int64_t frames, double fps) {
  const auto thousandths = std::llround(static_cast<double>(frames) * 1000 / fps);
  std::string text = fmt::format("{}.{:03}", thousandths / 1000, thousandths % 1000);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

// Field by field: lists in braces would be copied twice, and this is what clients poll.
Json video_object(const JobView& job) {
  const JobRequest& request = job.submission.request;
  Json video = Json::object();
  video["id"] = job.id;
  video["object"] = "video";
  video["model"] = request.model.empty() ? "demo" : request.model;
  video["status"] = to_string(job.state);
  video["progress"] = job.progress;
  video["created_at"] = job.created_at;
  video["completed_at"] = or_null(job.completed_at);
  video["expires_at"] = or_null(job.expires_at);
  video["prompt"] = or_null(request.prompt);
  video["size"] = size_text(request);
  video["seconds"] = seconds_text(request.frames, request.fps);
  video["remixed_from_video_id"] = or_null(job.submission.remixed_from);
  video["error"] = error_object(job.error);
  video["request"] = request_object(request);
  video["priority"] = job.submission.priority;
  video["endless"] = job.submission.endless;
  video["deadline"] = or_null(job.submission.deadline);
  video["queue_position"] = or_null(job.queue_position);
  video["waiting_for"] = or_null(job.waiting_for);
  video["started_at"] = or_null(job.started_at);
  video["attempt"] = job.attempt;
  video["gang"] = or_null(job.gang);
  video["frames_done"] = job.frames_done;
  video["evaluations_done"] = job.evaluations_done;
  video["evaluations_total"] = job.evaluations_total;
  video["first_frame_seconds"] = or_null(job.first_frame_seconds);
  video["frames_per_second"] = or_null(job.frames_per_second);
  video["seconds_left"] = or_null(job.seconds_left);
  video["latents_sha256"] = or_null(job.latents_sha256);
  video["content_expired"] = job.content_expired;
  return video;
}

Json video_list(const JobPage& page) {
  Json data = Json::array();
  for (const JobView& job : page.jobs) data.push_back(video_object(job));
  return {{"object", "list"},
          {"first_id", page.jobs.empty() ? Json() : Json(page.jobs.front().id)},
          {"last_id", page.jobs.empty() ? Json() : Json(page.jobs.back().id)},
          {"has_more", page.has_more},
          {"data", std::move(data)}};
}

}  // namespace seamwright::coordinator::http
