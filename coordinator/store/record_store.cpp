#include "coordinator/store/record_store.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "base/sha256.h"
#include "coordinator/store/database.h"

namespace seamwright::coordinator {
namespace {

constexpr int kVersion = 1;

// Records of version 0 do not say which numerics they belong to: computing them again costs time,
// going on from the wrong ones would cost the video.
constexpr const char* kRecordTables = R"sql(
DROP TABLE IF EXISTS records;
CREATE TABLE records (
  job TEXT NOT NULL,
  at INTEGER NOT NULL,
  level INTEGER NOT NULL,
  identity TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  bytes BLOB NOT NULL,
  PRIMARY KEY (job, at, level)
);
)sql";

std::string digest_of(const std::string& text) {
  return to_hex(sha256(std::as_bytes(std::span(text.data(), text.size()))));
}

}  // namespace

RecordStore::RecordStore(const std::filesystem::path& file)
    : db_(std::make_unique<Database>(file)) {
  const int found = db_->user_version();
  if (found > kVersion) {
    fail(ErrorCode::kUnsupported,
         "the record store is of version {}, but this program knows versions up to {}: use the "
         "program that wrote it, or a newer one",
         found, kVersion);
  }
  if (found == kVersion) return;
  failpoint("before.migrate_records");
  Transaction transaction(*db_);
  db_->execute(kRecordTables);
  db_->set_user_version(kVersion);
  transaction.commit();
  failpoint("after.migrate_records");
}

RecordStore::~RecordStore() = default;

void RecordStore::save(const std::string& job, const std::string& identity, Key key,
                       std::span<const std::byte> bytes) {
  const std::string sum = to_hex(sha256(bytes));
  failpoint("before.record");
  db_->query(
         "INSERT OR REPLACE INTO records (job, at, level, identity, sha256, bytes) "
         "VALUES (?,?,?,?,?,?)")
      .bind(job)
      .bind(std::int64_t{key.at})
      .bind(std::int64_t{key.level})
      .bind(digest_of(identity))
      .bind(sum)
      .bind(bytes)
      .run();
  failpoint("after.record");
}

comm::Bytes RecordStore::load(const std::string& job, const std::string& identity, Key key) {
  auto q = db_->query(
      "SELECT sha256, bytes FROM records WHERE job=? AND at=? AND level=? AND identity=?");
  q.bind(job).bind(std::int64_t{key.at}).bind(std::int64_t{key.level}).bind(digest_of(identity));
  if (!q.step()) {
    fail(ErrorCode::kNotFound, "{} has no record of {} at level {}", job, key.at, key.level);
  }
  const auto bytes = q.bytes(1);
  if (to_hex(sha256(bytes)) != q.text(0)) {
    fail(ErrorCode::kCorrupt, "the record of {} at level {} of {} is damaged", key.at, key.level,
         job);
  }
  return {bytes.begin(), bytes.end()};
}

std::vector<RecordStore::Key> RecordStore::keys(const std::string& job,
                                                const std::string& identity) {
  std::vector<Key> all;
  auto q =
      db_->query("SELECT at, level FROM records WHERE job=? AND identity=? ORDER BY at, level");
  q.bind(job).bind(digest_of(identity));
  while (q.step()) {
    all.push_back({static_cast<int>(q.integer(0)), static_cast<int>(q.integer(1))});
  }
  return all;
}

void RecordStore::remove(const std::string& job, Key key) {
  failpoint("before.drop");
  db_->query("DELETE FROM records WHERE job=? AND at=? AND level=?")
      .bind(job)
      .bind(std::int64_t{key.at})
      .bind(std::int64_t{key.level})
      .run();
  failpoint("after.drop");
}

void RecordStore::remove_all(const std::string& job) {
  failpoint("before.discard");
  db_->query("DELETE FROM records WHERE job=?").bind(job).run();
  failpoint("after.discard");
}

std::vector<std::string> RecordStore::jobs() {
  std::vector<std::string> all;
  auto q = db_->query("SELECT DISTINCT job FROM records");
  while (q.step()) all.push_back(q.text(0));
  return all;
}

}  // namespace seamwright::coordinator
