#include "coordinator/store/record_store.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "base/sha256.h"
#include "coordinator/store/database.h"

namespace seamwright::coordinator {
namespace {

constexpr const char* kTables = R"sql(
CREATE TABLE IF NOT EXISTS records (
  job TEXT NOT NULL,
  at INTEGER NOT NULL,
  level INTEGER NOT NULL,
  sha256 TEXT NOT NULL,
  bytes BLOB NOT NULL,
  PRIMARY KEY (job, at, level)
);
)sql";

}  // namespace

RecordStore::RecordStore(const std::filesystem::path& file)
    : db_(std::make_unique<Database>(file)) {
  db_->execute(kTables);
}

RecordStore::~RecordStore() = default;

void RecordStore::save(const std::string& job, Key key, std::span<const std::byte> bytes) {
  const std::string sum = to_hex(sha256(bytes));
  failpoint("before.record");
  db_->query("INSERT OR REPLACE INTO records (job, at, level, sha256, bytes) VALUES (?,?,?,?,?)")
      .bind(job)
      .bind(std::int64_t{key.at})
      .bind(std::int64_t{key.level})
      .bind(sum)
      .bind(bytes)
      .run();
  failpoint("after.record");
}

comm::Bytes RecordStore::load(const std::string& job, Key key) {
  auto q = db_->query("SELECT sha256, bytes FROM records WHERE job=? AND at=? AND level=?");
  q.bind(job).bind(std::int64_t{key.at}).bind(std::int64_t{key.level});
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

std::vector<RecordStore::Key> RecordStore::keys(const std::string& job) {
  std::vector<Key> all;
  auto q = db_->query("SELECT at, level FROM records WHERE job=? ORDER BY at, level");
  q.bind(job);
  while (q.step()) {
    all.push_back({static_cast<int>(q.integer(0)), static_cast<int>(q.integer(1))});
  }
  return all;
}

void RecordStore::remove(const std::string& job, Key key) {
  db_->query("DELETE FROM records WHERE job=? AND at=? AND level=?")
      .bind(job)
      .bind(std::int64_t{key.at})
      .bind(std::int64_t{key.level})
      .run();
}

void RecordStore::remove_all(const std::string& job) {
  db_->query("DELETE FROM records WHERE job=?").bind(job).run();
}

std::vector<std::string> RecordStore::jobs() {
  std::vector<std::string> all;
  auto q = db_->query("SELECT DISTINCT job FROM records");
  while (q.step()) all.push_back(q.text(0));
  return all;
}

}  // namespace seamwright::coordinator
