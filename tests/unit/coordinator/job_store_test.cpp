// The job store: what is committed is there again, what is not is not, older stores open.
#include "coordinator/store/job_store.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "coordinator/store/database.h"
#include "coordinator/store/record_store.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright::coordinator {
namespace {

using media::TemporaryFolder;

JobRecord sample(const std::string& id, std::int64_t arrival) {
  JobRecord r;
  r.view.id = id;
  r.view.submission.request.prompt = "a red circle";
  r.view.submission.request.seed = 0xffffffffffffffffULL;
  r.view.submission.owner = "ann";
  r.view.submission.priority = 3;
  r.view.submission.endless = true;
  r.view.submission.deadline = 77;
  r.view.created_at = 5;
  r.arrival = arrival;
  return r;
}

TEST(JobStore, KeepsJobsAcrossOpens) {
  TemporaryFolder folder;
  std::string id;
  {
    JobStore store(folder / "jobs.db");
    id = store.service_id();
    store.commit([&] {
      auto a = sample("video_a", 1);
      a.view.state = JobState::kFailed;
      a.view.error = JobFailure{"cancelled", "on request"};
      a.losses = 2;
      a.identity = "{\"x\":1}";
      store.put_job(a);
      store.put_job(sample("video_b", 2));
      store.put_key({"ann", "k", "hash", "video_a", 9});
      store.put_attempt({"video_a", 1, "gang", 6, 0, ""});
      store.end_attempt("video_a", 1, 8, "lost");
      store.put_artifact({"video_a", 1, "segment", 48, 96, "segments/x", 12, "{\"a\":1}"});
    });
  }
  JobStore store(folder / "jobs.db");
  EXPECT_EQ(store.service_id(), id);
  const auto jobs = store.jobs();
  ASSERT_EQ(jobs.size(), 2U);
  EXPECT_EQ(jobs[0].view.submission.request, sample("", 1).view.submission.request);
  EXPECT_EQ(jobs[0].view.state, JobState::kFailed);
  EXPECT_EQ(jobs[0].view.error->code, "cancelled");
  EXPECT_EQ(jobs[0].losses, 2);
  EXPECT_EQ(jobs[0].identity, "{\"x\":1}");
  EXPECT_EQ(jobs[1].view.submission.deadline, 77);
  EXPECT_TRUE(jobs[1].view.submission.endless);
  ASSERT_EQ(store.keys().size(), 1U);
  EXPECT_EQ(store.attempts("video_a").at(0).outcome, "lost");
  EXPECT_EQ(store.artifacts().at(0).end_frame, 96);
}

TEST(JobStore, ChangesAreAllOrNothing) {
  TemporaryFolder folder;
  JobStore store(folder / "jobs.db");
  store.commit([&] { store.put_job(sample("video_a", 1)); });
  EXPECT_ANY_THROW(store.commit([&] {
    store.put_job(sample("video_b", 2));
    store.put_attempt({"video_none", 1, "gang", 1, 0, ""});  // belongs to no job
  }));
  EXPECT_EQ(store.jobs().size(), 1U);
  store.commit([&] { store.put_job(sample("video_c", 3)); });
  EXPECT_EQ(store.jobs().size(), 2U) << "a refused change must not block the next one";
}

TEST(JobStore, UpdatingAJobKeepsWhatBelongsToIt) {
  TemporaryFolder folder;
  JobStore store(folder / "jobs.db");
  store.commit([&] {
    store.put_job(sample("video_a", 1));
    store.add_event({1, "video_a", "state", {{"state", "queued"}}}, 1);
  });
  store.commit([&] { store.put_job(sample("video_a", 1)); });
  EXPECT_EQ(store.events("video_a", 0).size(), 1U);
  store.commit([&] { store.remove_job("video_a"); });
  EXPECT_TRUE(store.events("video_a", 0).empty());
}

TEST(JobStore, EventsAreBounded) {
  TemporaryFolder folder;
  JobStore store(folder / "jobs.db");
  store.commit([&] {
    store.put_job(sample("video_a", 1));
    for (std::uint64_t i = 1; i <= kEventsKept + 5U; ++i) {
      store.add_event({i, "video_a", "log", {{"line", "x"}}}, 1);
    }
  });
  const auto events = store.events("video_a", 0);
  ASSERT_EQ(events.size(), static_cast<std::size_t>(kEventsKept));
  EXPECT_EQ(events.front().sequence, 6U);
  EXPECT_EQ(store.events("video_a", kEventsKept + 4U).size(), 1U);
  EXPECT_TRUE(store.events("video_a", UINT64_MAX).empty()) << "only what is new";
}

// A store as version 1 wrote it.
TEST(JobStore, OpensAStoreOfThePreviousVersion) {
  TemporaryFolder folder;
  {
    JobStore newer(folder / "jobs.db");
    newer.commit([&] { newer.put_job(sample("video_a", 1)); });
  }
  {
    Database db(folder / "jobs.db");
    db.execute(
        "DROP TABLE artifacts;"
        "CREATE TABLE artifacts (job TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, attempt "
        "INTEGER NOT NULL, kind TEXT NOT NULL, file TEXT NOT NULL, bytes INTEGER NOT NULL, "
        "PRIMARY KEY (job, kind)) WITHOUT ROWID;"
        "INSERT INTO artifacts VALUES ('video_a', 4, 'video', 'videos/a-4.mp4', 99);");
    db.set_user_version(1);
  }
  JobStore store(folder / "jobs.db");
  EXPECT_EQ(store.jobs().size(), 1U);
  const auto artifacts = store.artifacts();
  ASSERT_EQ(artifacts.size(), 1U);
  EXPECT_EQ(artifacts[0].file, "videos/a-4.mp4");
  EXPECT_EQ(artifacts[0].attempt, 4);
  store.commit([&] {
    store.put_artifact({"video_a", 4, "segment", 0, 48, "segments/a", 1, "{}"});
    store.put_artifact({"video_a", 4, "segment", 48, 96, "segments/b", 1, "{}"});
  });
  EXPECT_EQ(store.artifacts().size(), 3U);
}

TEST(JobStore, RefusesAStoreOfANewerVersion) {
  TemporaryFolder folder;
  { JobStore store(folder / "jobs.db"); }
  {
    Database db(folder / "jobs.db");
    db.set_user_version(kStoreVersion + 1);
  }
  EXPECT_THROW(JobStore(folder / "jobs.db"), Error);
}

TEST(JobStore, KeepsTextThatIsNotUtf8) {
  TemporaryFolder folder;
  {
    JobStore store(folder / "jobs.db");
    auto job = sample("video_a", 1);
    job.view.error = JobFailure{"assembly_failed", "ffmpeg: \xff: No such file"};
    job.view.submission.idempotency_key = "\xff";
    store.commit([&] { store.put_job(job); });
  }
  JobStore store(folder / "jobs.db");
  EXPECT_EQ(store.jobs().at(0).view.error->message, "ffmpeg: \xEF\xBF\xBD: No such file");
}

TEST(RecordStore, KeepsRecordsAndNoticesDamage) {
  TemporaryFolder folder;
  comm::Bytes bytes(1000, std::byte{7});
  {
    RecordStore records(folder / "records.db");
    records.save("video_a", "x", {3, 1}, bytes);
    records.save("video_a", "x", {3, 1}, bytes);  // again
    records.save("video_a", "x", {4, 2}, bytes);
    records.save("video_b", "x", {0, 0}, {});
    records.remove("video_a", {4, 2});
  }
  {
    RecordStore records(folder / "records.db");
    EXPECT_EQ(records.load("video_a", "x", {3, 1}), bytes);
    EXPECT_EQ(records.keys("video_a", "x").size(), 1U);
    EXPECT_THROW(records.load("video_a", "x", {4, 2}), Error);
    EXPECT_EQ(records.jobs().size(), 2U);
    records.remove_all("video_b");
    EXPECT_EQ(records.jobs().size(), 1U);
  }
  {
    Database db(folder / "records.db");
    db.execute("UPDATE records SET bytes=x'00'");
  }
  RecordStore records(folder / "records.db");
  EXPECT_THROW(records.load("video_a", "x", {3, 1}), Error);
}

// The job's new identity is durable before the records of its old one are gone.
TEST(RecordStore, RecordsOfAnotherIdentityAreNotThere) {
  TemporaryFolder folder;
  RecordStore records(folder / "records.db");
  const comm::Bytes old(3, std::byte{1}), fresh(3, std::byte{2});
  records.save("video_a", "x", {3, 1}, old);
  records.save("video_a", "x", {4, 1}, old);
  EXPECT_TRUE(records.keys("video_a", "y").empty());
  EXPECT_THROW(records.load("video_a", "y", {3, 1}), Error);
  records.save("video_a", "y", {3, 1}, fresh);
  EXPECT_EQ(records.load("video_a", "y", {3, 1}), fresh);
  EXPECT_EQ(records.keys("video_a", "x").size(), 1U);
  records.remove_all("video_a");
  EXPECT_TRUE(records.jobs().empty());
}

// As the version before wrote it: its records say nothing of their identity and cannot be trusted.
TEST(RecordStore, OpensAStoreOfThePreviousVersionWithoutItsRecords) {
  TemporaryFolder folder;
  {
    Database db(folder / "records.db");
    db.execute(
        "CREATE TABLE records (job TEXT NOT NULL, at INTEGER NOT NULL, level INTEGER NOT NULL, "
        "sha256 TEXT NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (job, at, level));"
        "INSERT INTO records VALUES ('video_a', 3, 1, 'x', x'00');");
  }
  {
    RecordStore records(folder / "records.db");
    EXPECT_TRUE(records.jobs().empty());
    records.save("video_a", "x", {3, 1}, {});
  }
  {
    RecordStore records(folder / "records.db");
    EXPECT_EQ(records.keys("video_a", "x").size(), 1U);
  }
  {
    Database db(folder / "records.db");
    db.set_user_version(99);
  }
  EXPECT_THROW(RecordStore(folder / "records.db"), Error);
}

}  // namespace
}  // namespace seamwright::coordinator
