// The life of a job over real sockets.
#include "coordinator/http/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "tests/unit/coordinator/http/served.h"

namespace seamwright::coordinator::http {
namespace {

using testing::HasSubstr;
using Json = nlohmann::json;

const std::set<std::string> kVideoKeys{
    "id",           "object",     "model",  "status", "progress", "created_at",
    "completed_at", "expires_at", "prompt", "size",   "seconds",  "remixed_from_video_id",
    "error"};

void expect_error(const RawResponse& response, int status, const std::string& code) {
  EXPECT_EQ(response.status, status) << response.body;
  ASSERT_EQ(response.headers.at("content-type"), "application/json");
  const Json error = response.json().at("error");
  EXPECT_EQ(error.size(), 4U) << error;
  for (const char* key : {"message", "type", "param", "code"}) EXPECT_TRUE(error.contains(key));
  EXPECT_EQ(error.at("code"), code) << error;
  EXPECT_FALSE(response.headers.at("x-request-id").empty());
  EXPECT_TRUE(response.headers.contains("x-should-retry"));
}

TEST(HttpServer, AnswersCreateWithAllKeysOfAVideo) {
  Served served;
  const auto response = ask_json(served.port(), "POST", "/v1/videos",
                                 {{"prompt", "a red circle"}, {"seconds", "4"}, {"seed", 7}});
  ASSERT_EQ(response.status, 200) << response.body;
  const Json video = response.json();
  for (const auto& key : kVideoKeys) EXPECT_TRUE(video.contains(key)) << key;
  EXPECT_EQ(video.at("object"), "video");
  EXPECT_EQ(video.at("status"), "queued");
  EXPECT_EQ(video.at("seconds"), "4");
  EXPECT_EQ(video.at("request").at("frames"), 32);
  EXPECT_EQ(video.at("request").at("seed"), 7);
  EXPECT_TRUE(video.at("error").is_null());
  EXPECT_EQ(response.headers.at("openai-poll-after-ms"), "1000");
}

TEST(HttpServer, TakesFormsWithTextValues) {
  Served served;
  const std::string body =
      "--XX\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na hill\r\n"
      "--XX\r\nContent-Disposition: form-data; name=\"size\"\r\n\r\n64x48\r\n"
      "--XX\r\nContent-Disposition: form-data; name=\"guidance\"\r\n\r\n2.5\r\n"
      "--XX\r\nContent-Disposition: form-data; name=\"endless\"\r\n\r\ntrue\r\n--XX--\r\n";
  const auto response = ask(served.port(), "POST", "/v1/videos", body,
                            "Content-Type: multipart/form-data; boundary=XX\r\n");
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(response.json().at("size"), "64x48");
  EXPECT_EQ(response.json().at("request").at("guidance"), 2.5);
  EXPECT_EQ(response.json().at("endless"), true);
}

TEST(HttpServer, ServesAJobFromSubmitToDelete) {
  Served served;
  const std::string id = served.submit();
  const std::string one = "/v1/videos/" + id;
  EXPECT_EQ(ask(served.port(), "GET", one).json().at("status"), "queued");
  expect_error(ask(served.port(), "GET", one + "/content"), 409, "video_not_ready");
  served.service.complete(id, served.file("v.mp4", "0123456789"));
  EXPECT_EQ(ask(served.port(), "GET", one).json().at("status"), "completed");
  const auto content =
      ask(served.port(), "GET", one + "/content", "", "Accept: application/binary\r\n");
  EXPECT_EQ(content.status, 200);
  EXPECT_EQ(content.headers.at("content-type"), "video/mp4");
  EXPECT_EQ(content.body, "0123456789");
  const auto part = ask(served.port(), "GET", one + "/content", "", "Range: bytes=2-4\r\n");
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.body, "234");
  EXPECT_EQ(part.headers.at("content-range"), "bytes 2-4/10");
  expect_error(ask(served.port(), "GET", one + "/content", "", "Range: bytes=10-\r\n"), 416,
               "bad_range");
  // The contract's third variant, which nobody makes here.
  const auto sheet = ask(served.port(), "GET", one + "/content?variant=spritesheet");
  expect_error(sheet, 400, "invalid_value");
  EXPECT_EQ(sheet.json().at("error").at("param"), "variant");
  EXPECT_EQ(sheet.json().at("error").at("message"), "variant must be one of: video thumbnail");
  const auto head = ask(served.port(), "HEAD", one + "/content");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-length"), "10");
  const auto same = ask(served.port(), "GET", one + "/content", "",
                        "If-None-Match: " + content.headers.at("etag") + "\r\n");
  EXPECT_EQ(same.status, 304);
  const auto removed = ask(served.port(), "DELETE", one);
  EXPECT_EQ(removed.json(), Json({{"id", id}, {"object", "video.deleted"}, {"deleted", true}}));
  expect_error(ask(served.port(), "GET", one), 404, "not_found");
}

TEST(HttpServer, SaysThatAFileWentByRetention) {
  Served served;
  const std::string id = served.submit();
  served.service.complete(id, served.file("v.mp4", "x"));
  served.service.expire(id);
  expect_error(ask(served.port(), "GET", "/v1/videos/" + id + "/content"), 410, "video_expired");
}

TEST(HttpServer, ListsPagesWithCursors) {
  Served served;
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(served.submit());
  const Json first = ask(served.port(), "GET", "/v1/videos?limit=2").json();
  EXPECT_EQ(first.at("object"), "list");
  EXPECT_EQ(first.at("first_id"), ids[4]);
  EXPECT_EQ(first.at("last_id"), ids[3]);
  EXPECT_EQ(first.at("has_more"), true);
  const Json last =
      ask(served.port(), "GET", "/v1/videos?limit=100&order=asc&after=" + ids[2]).json();
  ASSERT_EQ(last.at("data").size(), 2U);
  EXPECT_EQ(last.at("data")[0].at("id"), ids[3]);
  EXPECT_EQ(last.at("has_more"), false);
  const Json none = ask(served.port(), "GET", "/v1/videos?limit=0").json();
  EXPECT_TRUE(none.at("first_id").is_null());
  expect_error(ask(served.port(), "GET", "/v1/videos?limit=101"), 400, "invalid_value");
  expect_error(ask(served.port(), "GET", "/v1/videos?order=up"), 400, "invalid_value");
  expect_error(ask(served.port(), "GET", "/v1/videos?pages=2"), 400, "unknown_parameter");
}

TEST(HttpServer, ARemixThatContradictsWhatItKeepsIsAConflict) {
  Served served;
  const std::string id =
      ask_json(served.port(), "POST", "/v1/videos", {{"prompt", "a hill"}, {"frames", 64}})
          .json()
          .at("id");
  const auto remix = [&](const Json& body) {
    return ask_json(served.port(), "POST", "/v1/videos/" + id + "/remix", body);
  };
  EXPECT_EQ(remix({{"prompt", "a lake"}, {"frames", 20}}).status, 200);
  expect_error(remix({{"prompt", "a lake"}, {"frames", 0}}), 400, "invalid_value");
  const std::string filled = ask_json(served.port(), "POST", "/v1/videos",
                                      {{"prompt", "a hill"},
                                       {"frames", 64},
                                       {"missing", "40-50"},
                                       {"input_video", "data:video/mp4;base64,AAAAGGZ0eXBpc29t"}})
                                 .json()
                                 .at("id");
  const auto shorter = ask_json(served.port(), "POST", "/v1/videos/" + filled + "/remix",
                                {{"prompt", "a lake"}, {"frames", 30}});
  expect_error(shorter, 409, "conflict");
  EXPECT_EQ(shorter.json().at("error").at("param"), "missing");
}

TEST(HttpServer, RemixKeepsTheRequestAndChangesThePrompt) {
  Served served;
  const std::string id = ask_json(served.port(), "POST", "/v1/videos",
                                  {{"prompt", "a hill"}, {"seed", 11}, {"frames", 20}})
                             .json()
                             .at("id");
  const Json remix =
      ask_json(served.port(), "POST", "/v1/videos/" + id + "/remix", {{"prompt", "a lake"}}).json();
  EXPECT_EQ(remix.at("remixed_from_video_id"), id);
  EXPECT_EQ(remix.at("prompt"), "a lake");
  EXPECT_EQ(remix.at("request").at("seed"), 11);
  EXPECT_NE(remix.at("id"), id);
  expect_error(ask_json(served.port(), "POST", "/v1/videos/" + id + "/remix",
                        {{"prompt", "x"}, {"window", 8}}),
               400, "unknown_field");
  expect_error(ask_json(served.port(), "POST", "/v1/videos/" + id + "/remix", Json::object()), 400,
               "missing_field");
}

TEST(HttpServer, CancelEndsAJobAsFailedAndOnlyOnce) {
  Served served;
  const std::string id = served.submit();
  const auto cancelled = ask(served.port(), "POST", "/v1/videos/" + id + "/cancel");
  ASSERT_EQ(cancelled.status, 200);
  EXPECT_EQ(cancelled.json().at("status"), "failed");
  EXPECT_EQ(cancelled.json().at("error").at("code"), "cancelled");
  expect_error(ask(served.port(), "POST", "/v1/videos/" + id + "/cancel"), 409,
               "video_already_final");
}

TEST(HttpServer, RefusesWhatTheEngineCannotDoBeforeItIsTakenForAnId) {
  Served served;
  expect_error(ask_json(served.port(), "POST", "/v1/videos/edits", {{"prompt", "x"}}), 400,
               "missing_field");
  expect_error(ask_json(served.port(), "POST", "/v1/videos/extensions", {{"prompt", "x"}}), 400,
               "missing_field");
  expect_error(ask_json(served.port(), "POST", "/v1/videos/characters", {{"name", "x"}}), 404,
               "unsupported");
  expect_error(ask(served.port(), "GET", "/v1/videos/characters/char_1"), 404, "unsupported");
  const auto reference = ask_json(served.port(), "POST", "/v1/videos",
                                  {{"prompt", "x"}, {"input_reference", {{"file_id", "f"}}}});
  expect_error(reference, 400, "unsupported");
  EXPECT_EQ(reference.json().at("error").at("param"), "input_reference");
  EXPECT_EQ(reference.headers.at("x-should-retry"), "false");
}

TEST(HttpServer, SameIdempotencyKeyGivesTheSameJob) {
  Served served;
  const std::string key = "Idempotency-Key: abc\r\n";
  const std::string first = served.submit(key);
  EXPECT_EQ(served.submit(key), first);
  EXPECT_NE(served.submit(), first);
  expect_error(ask_json(served.port(), "POST", "/v1/videos", {{"prompt", "other"}}, key), 409,
               "idempotency_key_reused");
}

TEST(HttpServer, AnIdempotencyKeyIsText) {
  Served served;
  const auto refused = ask_json(served.port(), "POST", "/v1/videos", {{"prompt", "x"}},
                                "Idempotency-Key: \xff\xfe\r\n");
  expect_error(refused, 400, "invalid_value");
  served.submit("Idempotency-Key: gr\u00fcn\r\n");
}

TEST(HttpServer, AFullQueueTellsWhenToComeBack) {
  Served served;
  served.service.queue_limit = 1;
  served.submit();
  const auto full = ask_json(served.port(), "POST", "/v1/videos", {{"prompt", "x"}});
  expect_error(full, 429, "queue_full");
  EXPECT_EQ(full.headers.at("retry-after"), "7");
  EXPECT_EQ(full.headers.at("x-should-retry"), "true");
}

TEST(HttpServer, KnowsItsMethods) {
  Served served;
  const auto patch = ask(served.port(), "PATCH", "/v1/videos");
  expect_error(patch, 405, "method_not_allowed");
  EXPECT_EQ(patch.headers.at("allow"), "GET, HEAD, POST");
  // A path that is spelled out is not an id.
  const auto edits = ask(served.port(), "OPTIONS", "/v1/videos/edits");
  expect_error(edits, 405, "method_not_allowed");
  EXPECT_EQ(edits.headers.at("allow"), "POST");
  expect_error(ask(served.port(), "GET", "/v1/videos/extensions"), 405, "method_not_allowed");
  expect_error(ask(served.port(), "GET", "/v2/videos"), 404, "not_found");
}

TEST(HttpServer, HealthTellsTheTruth) {
  Served served;
  EXPECT_EQ(ask(served.port(), "GET", "/livez").status, 200);
  EXPECT_EQ(ask(served.port(), "GET", "/readyz").status, 200);
  served.service.health_view = {true, false, {"no gang is connected"}};
  EXPECT_EQ(ask(served.port(), "GET", "/livez").status, 200);
  const auto ready = ask(served.port(), "GET", "/readyz");
  EXPECT_EQ(ready.status, 503);
  EXPECT_EQ(ready.json().at("reasons")[0], "no gang is connected");
}

TEST(HttpServer, ModelsClusterTimelineAndDrain) {
  Served served;
  EXPECT_EQ(ask(served.port(), "GET", "/v1/models").json().at("data").size(), 2U);
  EXPECT_EQ(ask(served.port(), "GET", "/v1/models/demo%2Ffew_step").json().at("owned_by"), "x");
  expect_error(ask(served.port(), "GET", "/v1/models/none"), 404, "model_not_found");
  EXPECT_TRUE(ask(served.port(), "GET", "/v1/cluster").json().contains("gangs"));
  const std::string id = served.submit();
  EXPECT_TRUE(ask(served.port(), "GET", "/v1/videos/" + id + "/timeline").json().contains("ranks"));
  EXPECT_EQ(ask_json(served.port(), "POST", "/v1/cluster/drain", {{"gang", "g1"}}).status, 200);
  EXPECT_EQ(served.service.drained, std::vector<std::string>{"g1"});
}

TEST(HttpServer, MetricsHoldTheServicesNumbersAndItsOwn) {
  Served served;
  ask(served.port(), "GET", "/livez");
  const auto metrics = ask(served.port(), "GET", "/metrics");
  EXPECT_THAT(metrics.headers.at("content-type"), HasSubstr("text/plain"));
  EXPECT_THAT(metrics.body, HasSubstr("# TYPE seamwright_jobs_total counter"));
  EXPECT_THAT(metrics.body, HasSubstr("seamwright_jobs_total{state=\"completed\"} 3"));
  EXPECT_THAT(metrics.body, HasSubstr("route=\"/livez\""));
}

TEST(HttpServer, AnswersManyRequestsOnOneConnection) {
  Served served;
  RawClient client(served.port());
  for (int i = 0; i < 3; ++i) {
    client.send(request_bytes("GET", "/livez", "", ""));
    EXPECT_EQ(client.receive().status, 200);
  }
  // Two at once, answered in order.
  client.send(request_bytes("GET", "/v1/models", "", "") +
              request_bytes("GET", "/nowhere", "", ""));
  EXPECT_EQ(client.receive().status, 200);
  EXPECT_EQ(client.receive().status, 404);
}

TEST(HttpServer, WritesEveryRouteIntoItsDocument) {
  Served served;
  const Json document = ask(served.port(), "GET", "/openapi.json").json();
  EXPECT_EQ(document.at("openapi"), "3.1.0");
  const Json create = document.at("paths").at("/v1/videos").at("post");
  EXPECT_TRUE(create.at("requestBody").at("content").contains("multipart/form-data"));
  const Json fields = document.at("components").at("schemas").at("CreateVideo").at("properties");
  EXPECT_EQ(fields.at("fuse").at("enum"), Json({"flat", "pyramid", "overlap-linear"}));
  EXPECT_EQ(fields.at("window").at("maximum"), 1024);
  EXPECT_FALSE(fields.contains("vae"));
}

TEST(HttpServer, StopsWhileClientsWait) {
  Served served;
  RawClient idle(served.port());
  RawClient events(served.port());
  events.send(request_bytes("GET", "/v1/events", "", ""));
  EXPECT_THAT(events.receive_until("\r\n\r\n"), HasSubstr("200 OK"));
  const auto start = std::chrono::steady_clock::now();
  served.server.stop();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(3));
  EXPECT_TRUE(idle.closed_by_peer(1000));
}

TEST(HttpServer, SaysWhenAnAddressCannotBeHad) {
  Served served;
  ServerOptions options;
  options.port = served.port();
  EXPECT_THROW(Server(served.service, std::move(options)), Error);
  ServerOptions nonsense;
  nonsense.host = "not-an-address";
  EXPECT_THROW(Server(served.service, std::move(nonsense)), Error);
}

}  // namespace
}  // namespace seamwright::coordinator::http
