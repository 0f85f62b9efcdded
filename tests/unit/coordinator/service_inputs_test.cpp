// Files that jobs start from: kept with the job, handed to its gang, gone with it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "media/files.h"
#include "tests/unit/coordinator/service_fixture.h"

namespace seamwright::coordinator {
namespace {

using testing::HasSubstr;

constexpr const char* kName = "sha256:abc";

Submission with_picture(const std::string& bytes = "the picture") {
  auto s = submission();
  s.request.init_image = kName;
  s.files = {{kName, std::make_shared<const std::string>(bytes)}};
  return s;
}

int status_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const ApiError& error) {
    return error.status;
  }
  return 200;
}

class ServiceInputs : public ServiceTest {
 protected:
  // What the gang gets from `offset` on.
  std::string fetch(FakeGang& gang, const std::string& name, std::int64_t offset) {
    auto header = gang.header("attempt.fetch_file");
    header["file"] = name;
    header["offset"] = offset;
    gang.send(header);
    const auto answer = gang.wait_for("attempt.file");
    EXPECT_EQ(answer.header.at("offset"), offset);
    return {reinterpret_cast<const char*>(answer.payload.data()), answer.payload.size()};
  }
};

TEST_F(ServiceInputs, AreHandedToTheGangByTheirName) {
  const std::string bytes(5 << 20, 'p');  // two pieces
  const auto job = service->submit(with_picture(bytes));
  EXPECT_TRUE(job.submission.files.empty());
  EXPECT_EQ(job.submission.request.init_image, kName);
  start();  // durable
  FakeGang g(service->control_port(), "g");
  g.take_attempt();
  EXPECT_EQ(g.start.header.at("request").at("init_image"), kName);
  EXPECT_EQ(g.start.header.at("files"),
            nlohmann::json::parse(R"([{"name":"sha256:abc","bytes":5242880}])"));
  std::string got;
  while (got.size() < bytes.size()) {
    const auto piece = fetch(g, kName, static_cast<std::int64_t>(got.size()));
    ASSERT_FALSE(piece.empty());
    got += piece;
  }
  EXPECT_EQ(got, bytes);
  auto header = g.header("attempt.fetch_file");
  header["file"] = "sha256:other";
  header["offset"] = 0;
  g.send(header);
  EXPECT_EQ(g.wait_for("attempt.refused").header.at("code"), "input_missing");
}

TEST_F(ServiceInputs, GoWithTheirJobAndSurviveItsRemix) {
  const auto first = service->submit(with_picture());
  auto again = submission("another");
  again.request.init_image = kName;
  again.remixed_from = first.id;
  const auto second = service->submit(again);
  EXPECT_EQ(files("inputs"), 2U);
  service->remove(first.id, "");
  start();  // after every piece of file work
  EXPECT_EQ(files("inputs"), 1U);
  FakeGang g(service->control_port(), "g");
  g.take_attempt();
  EXPECT_EQ(g.job, second.id);
  EXPECT_EQ(fetch(g, kName, 0), "the picture");
  again.remixed_from = first.id;
  EXPECT_EQ(status_of([&] { service->submit(again); }), 410);
}

TEST_F(ServiceInputs, OfRefusedAndRepeatedJobsAreNotKept) {
  auto s = with_picture();
  s.idempotency_key = "k";
  const auto job = service->submit(s);
  EXPECT_EQ(service->submit(s).id, job.id);
  EXPECT_EQ(files("inputs"), 1U);
  service.reset();
  auto o = options();
  o.check = [](const JobRequest& request, bool) -> JobRequest {
    EXPECT_EQ(media::read_file(request.init_image, 100), "the picture");
    fail(ErrorCode::kInvalidArgument, "init_image cannot be used: {} is odd", request.init_image);
  };
  service = make_service(o);
  try {
    service->submit(with_picture());
    FAIL() << "it must be refused";
  } catch (const ApiError& error) {
    EXPECT_EQ(error.status, 400);
    EXPECT_EQ(error.param, "init_image");
    EXPECT_STREQ(error.what(), "init_image cannot be used: the given file is odd");
  }
  EXPECT_EQ(files("inputs"), 1U);
}

TEST_F(ServiceInputs, MayBeTheVideoOfAnEarlierJobOfTheSameOwner) {
  auto mine = submission();
  mine.owner = "ann";
  const auto job = service->submit(mine);
  auto next = submission("further");
  next.owner = "ann";
  next.request.extend = job.id;
  next.files = {{job.id, nullptr}};
  EXPECT_EQ(status_of([&] { service->submit(next); }), 409) << "it is not finished";
  FakeGang g(service->control_port(), "g");
  g.take_attempt();
  g.finish(kFrames);
  wait_state(job.id, JobState::kCompleted);
  auto stranger = next;
  stranger.owner = "bob";
  EXPECT_EQ(status_of([&] { service->submit(stranger); }), 404);
  const auto further = service->submit(next);
  const auto video = media::read_file(service->video(job.id, ""), 10 << 20);
  service->remove(job.id, "");
  g.take_attempt();
  EXPECT_EQ(g.job, further.id);
  EXPECT_EQ(fetch(g, job.id, 0), video);
}

TEST_F(ServiceInputs, HaveABoundInAll) {
  service.reset();
  auto o = options();
  o.input_bytes_max = 15;
  service = make_service(o);
  service->submit(with_picture());
  const auto second = service->submit(with_picture());
  EXPECT_EQ(status_of([&] { service->submit(with_picture()); }), 429);
  EXPECT_EQ(status_of([&] { service->submit(submission()); }), 200);
  service->remove(second.id, "");
  service->submit(with_picture());
}

TEST_F(ServiceInputs, ExpireWithTheVideo) {
  service.reset();
  auto o = options();
  o.retention_s = 0;
  service = make_service(o);
  service->submit(with_picture());
  FakeGang g(service->control_port(), "g");
  g.take_attempt();
  g.finish(kFrames);
  wait_state(g.job, JobState::kCompleted);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (files("inputs") > 0 && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(files("inputs"), 0U);
}

}  // namespace
}  // namespace seamwright::coordinator
