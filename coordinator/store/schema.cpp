#include "coordinator/store/schema.h"

#include <array>

#include "base/error.h"
#include "base/failpoint.h"
#include "coordinator/store/job_store.h"

namespace seamwright::coordinator {
namespace {

constexpr const char* kVersion1 = R"sql(
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE jobs (
  id TEXT PRIMARY KEY,
  arrival INTEGER NOT NULL UNIQUE,
  owner TEXT NOT NULL,
  state TEXT NOT NULL,
  priority INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  started_at INTEGER,
  completed_at INTEGER,
  expires_at INTEGER,
  submission TEXT NOT NULL,
  detail TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE attempts (
  job TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
  number INTEGER NOT NULL,
  gang TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at INTEGER,
  outcome TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE events (
  job TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
  sequence INTEGER NOT NULL,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  data TEXT NOT NULL,
  PRIMARY KEY (job, sequence)
) WITHOUT ROWID;
CREATE TABLE artifacts (
  job TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
  attempt INTEGER NOT NULL,
  kind TEXT NOT NULL,
  file TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (job, kind)
) WITHOUT ROWID;
CREATE TABLE idempotency_keys (
  owner TEXT NOT NULL,
  key TEXT NOT NULL,
  body_hash TEXT NOT NULL,
  job TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (owner, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_by_job ON idempotency_keys (job);
INSERT INTO meta VALUES ('service_id', lower(hex(randomblob(16))));
)sql";

// A job has many segments: artifacts are told apart by their first frame.
constexpr const char* kVersion2 = R"sql(
CREATE TABLE artifacts_2 (
  job TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
  attempt INTEGER NOT NULL,
  kind TEXT NOT NULL,
  first_frame INTEGER NOT NULL,
  end_frame INTEGER NOT NULL,
  file TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  detail TEXT NOT NULL DEFAULT '{}',
  PRIMARY KEY (job, kind, first_frame)
) WITHOUT ROWID;
INSERT INTO artifacts_2 (job, attempt, kind, first_frame, end_frame, file, bytes)
  SELECT job, attempt, kind, 0, 0, file, bytes FROM artifacts;
DROP TABLE artifacts;
ALTER TABLE artifacts_2 RENAME TO artifacts;
)sql";

constexpr std::array<const char*, kStoreVersion> kSteps = {kVersion1, kVersion2};

}  // namespace

void migrate(Database& db) {
  const int found = db.user_version();
  if (found > kStoreVersion) {
    fail(ErrorCode::kUnsupported,
         "the job store is of version {}, but this program knows versions up to {}: use the "
         "program that wrote it, or a newer one",
         found, kStoreVersion);
  }
  for (int version = found; version < kStoreVersion; ++version) {
    failpoint("before.migrate");
    Transaction transaction(db);
    db.execute(kSteps.at(static_cast<std::size_t>(version)));
    db.set_user_version(version + 1);
    transaction.commit();
    failpoint("after.migrate");
  }
}

}  // namespace seamwright::coordinator
