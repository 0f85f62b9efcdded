// The /v1/videos contract of existing SDKs, plus cancel.
#include <fmt/core.h>

#include <semaphore>

#include "coordinator/http/api.h"
#include "coordinator/http/errors.h"
#include "coordinator/http/given_sources.h"
#include "coordinator/http/range.h"
#include "coordinator/http/schemas.h"
#include "coordinator/http/submission_body.h"
#include "coordinator/http/url.h"
#include "coordinator/http/video_object.h"

namespace seamwright::coordinator::http {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kMaxBodyBytes = 16 << 20;
constexpr std::size_t kMaxIdempotencyKey = 255;
// How much of the denoising an edit does when it does not say.
constexpr double kEditStrength = 0.6;
// Checking a file takes a decoder and a good part of a second: other answers must not wait for it.
constexpr int kFileChecks = 2;
constexpr char kInvalid[] = "invalid_request_error";

DocumentedResponse a_video(const std::string& what) {
  return {200, what, "application/json", schema_ref("Video")};
}

std::string idempotency_key(const HttpRequest& request) {
  const std::string& key = request.header("idempotency-key");
  if (key.size() > kMaxIdempotencyKey) {
    throw bad_field(
        "Idempotency-Key", "invalid_value",
        fmt::format("Idempotency-Key must have at most {} characters", kMaxIdempotencyKey));
  }
  if (!is_utf8(key)) {
    throw bad_field("Idempotency-Key", "invalid_value", "Idempotency-Key must be UTF-8");
  }
  return key;
}

// Submits under the key's own limit of jobs.
class Submitter {
 public:
  Submitter(JobService& service, ApiKeys& keys) : service_(service), keys_(keys) {}

  HttpResponse operator()(const HttpRequest& request, Submission submission) {
    submission.owner = request.owner;
    submission.idempotency_key = idempotency_key(request);
    if (const ApiKey* key = keys_.named(request.owner))
      submission.active_jobs_max = key->active_jobs;
    if (submission.files.empty()) return answer(submission);
    if (!checks_.try_acquire()) {
      ApiError busy(503, "server_error", "busy", "",
                    "other files are being looked at: try again in a moment");
      busy.retry_after_s = 1;
      throw busy;
    }
    const std::shared_ptr<void> held(nullptr, [this](void*) { checks_.release(); });
    return answer(submission);
  }

 private:
  HttpResponse answer(const Submission& submission) {
    HttpResponse response = json_response(video_object(service_.submit(submission)));
    response.headers.emplace_back("openai-poll-after-ms", "1000");
    return response;
  }

  JobService& service_;
  ApiKeys& keys_;
  std::counting_semaphore<kFileChecks> checks_{kFileChecks};
};

void add_create(Router& router, const std::shared_ptr<Submitter>& submit) {
  Route route{.method = "POST",
              .pattern = "/v1/videos",
              .handler = {},
              .operation_id = "createVideo",
              .summary = "Accept a job; durable before the answer"};
  route.max_body_bytes = kMaxBodyBytes;
  route.body_schema = schema_ref("CreateVideo");
  route.form_schema = schema_ref("CreateVideoForm");
  route.has_form_body = true;
  // 404, 409 and 410 are about an earlier video to start from.
  route.responses = responses(a_video("The job"), {404, 409, 410, 413, 415, 429});
  route.handler = [submit](const HttpRequest& request, const PathParameters&) {
    Submission submission;
    apply_body(read_body(request), submission);
    return (*submit)(request, std::move(submission));
  };
  router.add(std::move(route));
}

// What the body asks for, on top of an earlier job's request. Where the two contradict each other
// in a field that the body does not name (frames to fill
// beyond a shorter length), no field is wrong.
void apply_over(const Body& body, Submission& submission) {
  try {
    apply_body(body, submission);
  } catch (const ApiError& error) {
    const bool theirs = !error.param.empty() && !body.fields.contains(error.param) &&
                        submission.remixed_from && error.status == 400 &&
                        error.code != "missing_field";
    if (!theirs) throw;
    throw ApiError(409, kInvalid, "conflict", error.param,
                   fmt::format("this does not go with the video it starts from, whose {} is kept: "
                               "{}",
                               error.param, error.what()));
  }
}

void add_remix(Router& router, JobService& service, const std::shared_ptr<Submitter>& submit) {
  Route route{.method = "POST",
              .pattern = "/v1/videos/{video_id}/remix",
              .handler = {},
              .operation_id = "remixVideo",
              .summary = "A new job with another prompt and the rest of an earlier request"};
  route.max_body_bytes = kMaxBodyBytes;
  route.body_schema = schema_ref("RemixVideo");
  route.has_form_body = true;
  route.responses = responses(a_video("The new job"), {404, 409, 410, 413, 415});
  route.handler = [&service, submit](const HttpRequest& request, const PathParameters& path) {
    const JobView source = service.get(checked_id(path), request.owner);
    const Body body = read_body(request);
    if (!body.fields.contains("prompt")) {
      throw bad_field("prompt", "missing_field", "prompt is missing: say what to show instead");
    }
    for (const auto& [name, unused] : body.fields.items()) {
      if (!is_remix_field(name)) {
        throw bad_field(name, "unknown_field",
                        fmt::format("a remix cannot change '{}'; create a new video", name));
      }
    }
    Submission submission;
    submission.request = source.submission.request;
    submission.priority = source.submission.priority;
    submission.endless = source.submission.endless;
    submission.remixed_from = source.id;
    apply_over(body, submission);
    return (*submit)(request, std::move(submission));
  };
  router.add(std::move(route));
}

// Nothing to start from.
JobRequest without_sources(JobRequest request) {
  const JobRequest none;
  request.init_image = none.init_image;
  request.keyframes = none.keyframes;
  request.input_video = none.input_video;
  request.input_fps = none.input_fps;
  request.input_skip = none.input_skip;
  request.input_step = none.input_step;
  request.missing = none.missing;
  request.input_every = none.input_every;
  request.strength = none.strength;
  request.extend = none.extend;
  return request;
}

// Edits and extensions: a new job from a video, which is a file or an earlier job; of an earlier
// job the rest of its request is kept.
Submission derived_from(const Body& body, const HttpRequest& request, JobService& service) {
  for (const char* name : {"prompt", "video"}) {
    if (!body.fields.contains(name)) {
      throw bad_field(name, "missing_field", fmt::format("{} is missing", name));
    }
  }
  for (const auto& [name, unused] : body.fields.items()) {
    if (is_source_field(name)) {
      throw bad_field(name, "unsupported",
                      fmt::format("{} cannot be given here: video is what is started from", name));
    }
  }
  Submission submission;
  if (const auto id = video_id_in(body.fields.at("video"))) {
    const JobView source = service.get(checked_id({{"video_id", *id}}), request.owner);
    submission.request = without_sources(source.submission.request);
    submission.priority = source.submission.priority;
    submission.remixed_from = source.id;
  }
  return submission;
}

void add_edit(Router& router, JobService& service, const std::shared_ptr<Submitter>& submit) {
  Route route{.method = "POST",
              .pattern = "/v1/videos/edits",
              .handler = {},
              .operation_id = "editVideo",
              .summary = "Video to video: a new job that starts from a video"};
  route.max_body_bytes = kMaxBodyBytes;
  route.body_schema = schema_ref("EditVideo");
  route.form_schema = schema_ref("EditVideoForm");
  route.has_form_body = true;
  route.responses = responses(a_video("The new job"), {404, 409, 410, 413, 415});
  route.handler = [&service, submit](const HttpRequest& request, const PathParameters&) {
    Body body = read_body(request);
    Submission submission = derived_from(body, request, service);
    body.video_is = "input_video";
    const auto& fields = body.fields;
    if (!fields.contains("strength") && !fields.contains("missing") &&
        !fields.contains("input_every")) {
      submission.request.strength = kEditStrength;
    }
    apply_over(body, submission);
    return (*submit)(request, std::move(submission));
  };
  router.add(std::move(route));
}

void add_extend(Router& router, JobService& service, const std::shared_ptr<Submitter>& submit) {
  Route route{.method = "POST",
              .pattern = "/v1/videos/extensions",
              .handler = {},
              .operation_id = "extendVideo",
              .summary = "A new job that goes on from the last frames of a video"};
  route.max_body_bytes = kMaxBodyBytes;
  route.body_schema = schema_ref("ExtendVideo");
  route.form_schema = schema_ref("ExtendVideoForm");
  route.has_form_body = true;
  route.responses = responses(a_video("The new job"), {404, 409, 410, 413, 415});
  route.handler = [&service, submit](const HttpRequest& request, const PathParameters&) {
    Body body = read_body(request);
    Submission submission = derived_from(body, request, service);
    submission.request.frames = JobRequest{}.frames;
    body.video_is = "extend";
    apply_over(body, submission);
    return (*submit)(request, std::move(submission));
  };
  router.add(std::move(route));
}

void add_list(Router& router, JobService& service) {
  Route route{.method = "GET",
              .pattern = "/v1/videos",
              .handler = {},
              .operation_id = "listVideos",
              .summary = "Jobs, newest first"};
  route.waits = true;  // a hundred jobs are long to write
  route.query = {{"after",
                  "id of the last job of the page before",
                  {{"type", "string"}, {"pattern", kVideoIdPattern}}},
                 {"limit",
                  "jobs a page",
                  {{"type", "integer"}, {"minimum", 0}, {"maximum", 100}, {"default", 20}}},
                 {"order",
                  "by creation time",
                  {{"type", "string"}, {"enum", {"asc", "desc"}}, {"default", "desc"}}}};
  route.responses =
      responses({200, "One page", "application/json", schema_ref("VideoList")}, {404});
  route.handler = [&service](const HttpRequest& request, const PathParameters&) {
    const std::string after = query_text(request, "after", "");
    if (request.query.contains("after")) checked_id({{"video_id", after}});
    return json_response(
        video_list(service.list(after, query_integer(request, "limit", 20),
                                query_text(request, "order", "desc") == "asc", request.owner)));
  };
  router.add(std::move(route));
}

void add_one(Router& router, JobService& service) {
  Route get{.method = "GET",
            .pattern = "/v1/videos/{video_id}",
            .handler = {},
            .operation_id = "retrieveVideo",
            .summary = "One job as it is now"};
  get.responses = responses(a_video("The job"), {404});
  get.handler = [&service](const HttpRequest& request, const PathParameters& path) {
    return json_response(video_object(service.get(checked_id(path), request.owner)));
  };
  router.add(std::move(get));

  Route remove{.method = "DELETE",
               .pattern = "/v1/videos/{video_id}",
               .handler = {},
               .operation_id = "deleteVideo",
               .summary = "Stop the job if it runs; remove its record and files"};
  remove.responses =
      responses({200, "It is gone", "application/json", schema_ref("VideoDeleted")}, {404});
  remove.handler = [&service](const HttpRequest& request, const PathParameters& path) {
    const std::string& id = checked_id(path);
    service.remove(id, request.owner);
    return json_response({{"id", id}, {"object", "video.deleted"}, {"deleted", true}});
  };
  router.add(std::move(remove));

  Route cancel{.method = "POST",
               .pattern = "/v1/videos/{video_id}/cancel",
               .handler = {},
               .operation_id = "cancelVideo",
               .summary = "Stop the job; it ends as failed with code cancelled"};
  cancel.max_body_bytes = 1024;  // some clients send an empty object
  cancel.responses = responses(a_video("The job"), {404, 409, 413});
  cancel.handler = [&service](const HttpRequest& request, const PathParameters& path) {
    return json_response(video_object(service.cancel(checked_id(path), request.owner)));
  };
  router.add(std::move(cancel));
}

void add_content(Router& router, JobService& service) {
  Route route{.method = "GET",
              .pattern = "/v1/videos/{video_id}/content",
              .handler = {},
              .operation_id = "downloadVideo",
              .summary = "The finished file, or a preview picture at any time; Range is honoured"};
  route.query = {{"variant",
                  "what to fetch",
                  {{"type", "string"}, {"enum", {"video", "thumbnail"}}, {"default", "video"}}}};
  route.responses = responses({200, "The file", "video/mp4", Json()}, {404, 409, 410, 416});
  route.responses.push_back({200, "The picture", "image/png", Json()});
  route.responses.push_back({206, "A part of the file", "video/mp4", Json()});
  route.responses.push_back({206, "A part of the picture", "image/png", Json()});
  route.responses.push_back({304, "The file has not changed", "video/mp4", Json()});
  route.handler = [&service](const HttpRequest& request, const PathParameters& path) {
    const std::string& id = checked_id(path);
    if (query_text(request, "variant", "video") == "thumbnail") {
      return file_response(request, service.preview(id, request.owner), "image/png");
    }
    HttpResponse response = file_response(request, service.video(id, request.owner), "video/mp4");
    response.headers.emplace_back("content-disposition",
                                  fmt::format("inline; filename=\"{}.mp4\"", id));
    return response;
  };
  router.add(std::move(route));
}

// Fixed words of the contract that this engine cannot do.
void add_refused(Router& router) {
  const auto refuse = [&](const std::string& method, const std::string& pattern, int status,
                          const std::string& message) {
    Route route{
        .method = method, .pattern = pattern, .handler = {}, .operation_id = "", .summary = ""};
    route.documented = false;
    route.max_body_bytes = kMaxBodyBytes;
    route.handler = [=](const HttpRequest&, const PathParameters&) -> HttpResponse {
      throw ApiError(status, kInvalid, "unsupported", "", message);
    };
    router.add(std::move(route));
  };
  const std::string characters = "characters are not supported by the models of this server";
  refuse("POST", "/v1/videos/characters", 404, characters);
  refuse("GET", "/v1/videos/characters/{character_id}", 404, characters);
}

}  // namespace

void add_video_routes(Router& router, JobService& service, ApiKeys& keys) {
  const auto submit = std::make_shared<Submitter>(service, keys);
  add_create(router, submit);
  add_list(router, service);
  add_edit(router, service, submit);
  add_extend(router, service, submit);
  add_refused(router);
  add_one(router, service);
  add_content(router, service);
  add_remix(router, service, submit);
}

}  // namespace seamwright::coordinator::http
