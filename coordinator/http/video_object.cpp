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

}  // namespace

std::string seconds_text(std::int64_t frames, double fps) {
  const auto thousandths = std::llround(static_cast<double>(frames) * 1000 / fps);
  std::string text = fmt::format("{}.{:03}", thousandths / 1000, thousandths % 1000);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

Json video_object(const JobView& job) {
  const JobRequest& request = job.submission.request;
  Json video = {
      {"id", job.id},
      {"object", "video"},
      {"model", request.model.empty() ? "demo" : request.model},
      {"status", to_string(job.state)},
      {"progress", job.progress},
      {"created_at", job.created_at},
      {"completed_at", or_null(job.completed_at)},
      {"expires_at", or_null(job.expires_at)},
      {"prompt", or_null(request.prompt)},
      {"size", size_text(request)},
      {"seconds", seconds_text(request.frames, request.fps)},
      {"remixed_from_video_id", or_null(job.submission.remixed_from)},
      {"error",
       job.error ? Json{{"code", job.error->code}, {"message", job.error->message}} : Json()}};
  Json request_json = to_json(request);
  // Folders of the server are nobody's business.
  for (const auto& field : job_request_fields()) {
    if (field.local) request_json.erase(std::string(field.name));
  }
  video.update({{"request", std::move(request_json)},
                {"priority", job.submission.priority},
                {"endless", job.submission.endless},
                {"deadline", or_null(job.submission.deadline)},
                {"queue_position", or_null(job.queue_position)},
                {"waiting_for", or_null(job.waiting_for)},
                {"started_at", or_null(job.started_at)},
                {"attempt", job.attempt},
                {"gang", or_null(job.gang)},
                {"frames_done", job.frames_done},
                {"evaluations_done", job.evaluations_done},
                {"evaluations_total", job.evaluations_total},
                {"first_frame_seconds", or_null(job.first_frame_seconds)},
                {"frames_per_second", or_null(job.frames_per_second)},
                {"seconds_left", or_null(job.seconds_left)},
                {"latents_sha256", or_null(job.latents_sha256)},
                {"content_expired", job.content_expired}});
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
