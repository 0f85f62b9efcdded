// What can be watched while a job runs: events, the growing video, the timeline.
#include <charconv>

#include "coordinator/http/api.h"
#include "coordinator/http/errors.h"
#include "coordinator/http/event_stream.h"
#include "coordinator/http/range.h"
#include "coordinator/http/schemas.h"
#include "coordinator/http/video_stream.h"

namespace seamwright::coordinator::http {
namespace {

using Json = nlohmann::json;

std::uint64_t last_event(const HttpRequest& request) {
  const std::string& header = request.header("last-event-id");
  if (header.empty()) return 0;
  std::uint64_t sequence = 0;
  const auto [end, error] = std::from_chars(header.data(), header.data() + header.size(), sequence);
  if (error != std::errc() || end != header.data() + header.size()) {
    throw bad_field("Last-Event-ID", "invalid_value",
                    "Last-Event-ID must be the id of an earlier event, a whole number");
  }
  return sequence;
}

HttpResponse stream_response(std::shared_ptr<BodyStream> stream, const std::string& type) {
  HttpResponse response;
  response.content_type = type;
  response.headers = {{"cache-control", "no-store"}, {"x-accel-buffering", "no"}};
  response.body = std::move(stream);
  return response;
}

void add_events(Router& router, JobService& service) {
  Route one{.method = "GET",
            .pattern = "/v1/videos/{video_id}/events",
            .handler = {},
            .operation_id = "videoEvents",
            .summary = "Server-sent events of one job; Last-Event-ID continues"};
  one.query = {{"follow",
                "whether to go on until the job is final",
                {{"type", "string"}, {"enum", {"true", "false"}}, {"default", "true"}}}};
  one.responses = responses({200, "Events", "text/event-stream", Json()}, {404});
  one.responses.push_back({204, "All events have been sent", "text/event-stream", Json()});
  one.handler = [&service](const HttpRequest& request, const PathParameters& path) {
    const std::string& id = checked_id(path);
    service.get(id, request.owner);  // 404 now rather than inside the stream
    if (request.header("last-event-id") == EventStream::kEndId) {
      HttpResponse done;
      done.status = 204;
      done.content_type.clear();
      return done;
    }
    return stream_response(
        std::make_shared<EventStream>(service, id, request.owner, last_event(request),
                                      query_text(request, "follow", "true") == "true"),
        "text/event-stream");
  };
  router.add(std::move(one));

  Route all{.method = "GET",
            .pattern = "/v1/events",
            .handler = {},
            .operation_id = "allEvents",
            .summary = "New events of every job the key may see, without end"};
  // Endless, so tools that call every endpoint of the document had better not.
  all.documented = false;
  all.handler = [&service](const HttpRequest& request, const PathParameters&) {
    return stream_response(std::make_shared<EventStream>(service, "", request.owner, 0),
                           "text/event-stream");
  };
  router.add(std::move(all));
}

void add_stream(Router& router, JobService& service) {
  Route route{.method = "GET",
              .pattern = "/v1/videos/{video_id}/stream",
              .handler = {},
              .operation_id = "streamVideo",
              .summary = "The video from its first frame while it is made (fragmented MP4)"};
  route.responses = responses({200, "The stream", "video/mp4", Json()}, {404, 409, 410, 416});
  route.responses.push_back({206, "A part of the finished file", "video/mp4", Json()});
  route.responses.push_back({304, "The file has not changed", "video/mp4", Json()});
  route.handler = [&service](const HttpRequest& request, const PathParameters& path) {
    const std::string& id = checked_id(path);
    const JobView job = service.get(id, request.owner);
    // A finished file can do more: its length is known and players can seek.
    if (job.state == JobState::kCompleted) {
      return file_response(request, service.video(id, request.owner), "video/mp4");
    }
    if (job.state == JobState::kFailed && service.segments(id, request.owner).closed.empty()) {
      throw ApiError(409, "invalid_request_error", "video_failed", "",
                     "the job failed before its first frames were safe");
    }
    return stream_response(std::make_shared<VideoStream>(service, id, request.owner), "video/mp4");
  };
  router.add(std::move(route));
}

void add_timeline(Router& router, JobService& service) {
  Route route{.method = "GET",
              .pattern = "/v1/videos/{video_id}/timeline",
              .handler = {},
              .operation_id = "videoTimeline",
              .summary = "What each rank did when"};
  route.waits = true;  // of a final job it is a file, which may be long
  route.responses =
      responses({200, "The timeline", "application/json", schema_ref("Object")}, {404});
  route.handler = [&service](const HttpRequest& request, const PathParameters& path) {
    return json_response(service.timeline(checked_id(path), request.owner));
  };
  router.add(std::move(route));
}

}  // namespace

void add_video_live_routes(Router& router, JobService& service) {
  add_events(router, service);
  add_stream(router, service);
  add_timeline(router, service);
}

}  // namespace seamwright::coordinator::http
