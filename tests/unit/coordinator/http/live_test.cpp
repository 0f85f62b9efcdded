// What can be watched while a job runs, over real sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "media/segment_writer.h"
#include "tests/unit/coordinator/http/served.h"

namespace seamwright::coordinator::http {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string events_of(const std::string& id) { return "/v1/videos/" + id + "/events"; }

// Waits until the server has let go of every subscription.
bool all_let_go(FakeService& service) {
  for (int i = 0; i < 100; ++i) {
    if (service.subscriptions() == 0) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
  }
  return false;
}

TEST(HttpEvents, TellPastThenNewThenTheEnd) {
  Served served;
  const std::string id = served.submit();
  RawClient client(served.port());
  client.send(request_bytes("GET", events_of(id), "", ""));
  const std::string first = client.receive_until("\"status\":\"queued\",\"video_id\"");
  EXPECT_THAT(first, HasSubstr("text/event-stream"));
  EXPECT_THAT(first, HasSubstr("event: video\ndata: {"));
  EXPECT_THAT(first, HasSubstr("id: 1\nevent: state\n"));
  served.service.start(id);
  served.service.emit(id, "progress", {{"progress", 40}});
  // The event itself: the video told before it may already say 40.
  const std::string progress = "event: progress\ndata: {\"progress\":40";
  EXPECT_THAT(client.receive_until(progress), HasSubstr(progress));
  served.service.complete(id, served.file("v.mp4", "x"));
  const std::string rest = client.receive_until("0\r\n\r\n");
  EXPECT_THAT(rest, HasSubstr("\"status\":\"completed\""));
  EXPECT_THAT(rest, HasSubstr("id: end\nevent: end"));
  EXPECT_TRUE(all_let_go(served.service));
}

TEST(HttpEvents, ContinueAfterTheLastOneSeen) {
  Served served;
  const std::string id = served.submit();
  served.service.start(id);
  served.service.emit(id, "progress", {{"progress", 10}});
  served.service.complete(id, served.file("v.mp4", "x"));
  const auto rest = ask(served.port(), "GET", events_of(id), "", "Last-Event-ID: 2\r\n");
  EXPECT_EQ(rest.status, 200);
  EXPECT_THAT(rest.body, Not(HasSubstr("id: 2\n")));
  EXPECT_THAT(rest.body, HasSubstr("id: 3\nevent: progress"));
  EXPECT_THAT(rest.body, HasSubstr("id: 4\nevent: state"));
  EXPECT_EQ(ask(served.port(), "GET", events_of(id), "", "Last-Event-ID: end\r\n").status, 204);
  EXPECT_EQ(ask(served.port(), "GET", events_of(id), "", "Last-Event-ID: x\r\n").status, 400);
}

TEST(HttpEvents, WithoutFollowingTellOnlyThePast) {
  Served served;
  const std::string id = served.submit();
  const auto past = ask(served.port(), "GET", events_of(id) + "?follow=false");
  EXPECT_THAT(past.body, HasSubstr("event: state"));
  EXPECT_THAT(past.body, HasSubstr("event: end"));
  EXPECT_THAT(past.body, Not(HasSubstr("id: end")));
}

TEST(HttpEvents, EndWhenTheJobIsDeletedAndWhenTheClientGoes) {
  Served served;
  const std::string id = served.submit();
  RawClient client(served.port());
  client.send(request_bytes("GET", events_of(id), "", ""));
  client.receive_until("event: state");
  served.service.remove(id, "");
  EXPECT_THAT(client.receive_until("0\r\n\r\n"), HasSubstr("event: end"));
  const std::string other = served.submit();
  {
    RawClient leaver(served.port());
    leaver.send(request_bytes("GET", events_of(other), "", ""));
    leaver.receive_until("event: state");
  }
  EXPECT_TRUE(all_let_go(served.service));
}

TEST(HttpEvents, OfAllJobsTellNewOnes) {
  Served served;
  RawClient client(served.port());
  client.send(request_bytes("GET", "/v1/events", "", ""));
  client.receive_until("\r\n\r\n");
  while (served.service.subscriptions() == 0) std::this_thread::yield();
  const std::string id = served.submit();
  EXPECT_THAT(client.receive_until(id), HasSubstr("event: state"));
}

std::filesystem::path segment(const std::filesystem::path& path, std::int64_t first_frame) {
  media::VideoOptions options;
  options.width = 64;
  options.height = 48;
  options.fps = 8;
  media::SegmentWriter writer(path, options, first_frame);
  for (int i = 0; i < 8; ++i) {
    const auto frame = media::numbered_frame(static_cast<int>(first_frame) + i, 64, 48);
    writer.write(frame.view());
  }
  return writer.finish();
}

TEST(HttpStream, SendsSegmentsAsTheyCloseAsOneStream) {
  Served served;
  const std::string id = served.submit();
  served.service.start(id);
  served.service.add_segment(id, segment(served.folder / "a.mp4", 0));
  RawClient client(served.port());
  client.send(request_bytes("GET", "/v1/videos/" + id + "/stream", "", ""));
  const std::string first = client.receive_until("moof");
  EXPECT_THAT(first, HasSubstr("video/mp4"));
  EXPECT_THAT(first, HasSubstr("moov"));
  served.service.add_segment(id, segment(served.folder / "b.mp4", 8));
  const std::string second = client.receive_until("moof");
  EXPECT_THAT(second, Not(HasSubstr("moov")));
  served.service.complete(id, served.file("v.mp4", "0123456789"));
  EXPECT_THAT(client.receive_until("0\r\n\r\n"), HasSubstr("0\r\n\r\n"));
  // Afterwards the finished file answers, with ranges.
  EXPECT_EQ(
      ask(served.port(), "GET", "/v1/videos/" + id + "/stream", "", "Range: bytes=0-1\r\n").body,
      "01");
}

TEST(HttpStream, WhosePiecesAreDroppedDoesNotLookComplete) {
  Served served;
  const std::string id = served.submit();
  served.service.start(id);
  served.service.add_segment(id, segment(served.folder / "a.mp4", 0));
  RawClient client(served.port());
  client.send(request_bytes("GET", "/v1/videos/" + id + "/stream", "", ""));
  client.receive_until("moof");
  served.service.drop_segments(id);
  served.service.complete(id, served.file("v.mp4", "0123456789"));
  EXPECT_THAT(client.receive_until("0\r\n\r\n"), Not(HasSubstr("\r\n0\r\n\r\n")));
  EXPECT_TRUE(client.closed_by_peer(10'000));
}

TEST(HttpStream, ThatCannotBeginEndsItsConnection) {
  Served served;
  const std::string id = served.submit();
  served.service.start(id);
  served.service.takes_subscribers = false;
  RawClient client(served.port());
  client.send(request_bytes("GET", "/v1/videos/" + id + "/stream", "", ""));
  EXPECT_TRUE(client.closed_by_peer(10'000));
}

TEST(HttpStream, OfAFailedJobWithoutFramesIsRefused) {
  Served served;
  const std::string id = served.submit();
  served.service.cancel(id, "");
  EXPECT_EQ(ask(served.port(), "GET", "/v1/videos/" + id + "/stream").status, 409);
}

}  // namespace
}  // namespace seamwright::coordinator::http
