#include "coordinator/store/database.h"

#include <sqlite3.h>

#include "base/error.h"

namespace seamwright::coordinator {
namespace {

ErrorCode code_of(int result) {
  switch (result & 0xff) {
    case SQLITE_FULL:
      return ErrorCode::kResource;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return ErrorCode::kCorrupt;
    case SQLITE_NOMEM:
      return ErrorCode::kResource;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISUSE:
      return ErrorCode::kInternal;
    default:
      return ErrorCode::kIo;
  }
}

void check(sqlite3* db, int result, std::string_view doing) {
  if (result == SQLITE_OK || result == SQLITE_ROW || result == SQLITE_DONE) return;
  const char* why = db == nullptr ? sqlite3_errstr(result) : sqlite3_errmsg(db);
  const bool full = (result & 0xff) == SQLITE_FULL;
  fail(code_of(result), "the job store: {}: {}{}", doing, why,
       full ? "; make room on the disk that holds --data" : "");
}

}  // namespace

Query::~Query() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

Query& Query::bind(std::int64_t value) {
  check(db_, sqlite3_bind_int64(statement_, next_parameter_++, value), "binding a number");
  return *this;
}

Query& Query::bind(std::string_view text) {
  check(db_,
        sqlite3_bind_text64(statement_, next_parameter_++, text.data(), text.size(),
                            SQLITE_TRANSIENT, SQLITE_UTF8),
        "binding text");
  return *this;
}

Query& Query::bind(std::span<const std::byte> bytes) {
  check(db_,
        sqlite3_bind_blob64(statement_, next_parameter_++,
                            bytes.empty() ? static_cast<const void*>("") : bytes.data(),
                            bytes.size(), SQLITE_TRANSIENT),
        "binding bytes");
  return *this;
}

Query& Query::bind_null() {
  check(db_, sqlite3_bind_null(statement_, next_parameter_++), "binding nothing");
  return *this;
}

bool Query::step() {
  const int result = sqlite3_step(statement_);
  check(db_, result, "running a statement");
  return result == SQLITE_ROW;
}

void Query::run() {
  while (step()) {
  }
}

std::int64_t Query::integer(int column) const { return sqlite3_column_int64(statement_, column); }

std::string Query::text(int column) const {
  const auto* text = sqlite3_column_text(statement_, column);
  if (text == nullptr) return {};
  return {reinterpret_cast<const char*>(text),
          static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

bool Query::is_null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

std::span<const std::byte> Query::bytes(int column) const {
  const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(statement_, column));
  return {data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

Database::Database(const std::filesystem::path& file) : file_(file) {
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  const int result = sqlite3_open_v2(file.c_str(), &db_, flags, nullptr);
  if (result != SQLITE_OK) {
    const std::string why = db_ == nullptr ? sqlite3_errstr(result) : sqlite3_errmsg(db_);
    sqlite3_close_v2(db_);
    fail(ErrorCode::kIo, "the job store {} cannot be opened: {}", file.string(), why);
  }
  try {
    sqlite3_busy_timeout(db_, 5000);
    execute("PRAGMA journal_mode=WAL");
    execute("PRAGMA synchronous=FULL");
    execute("PRAGMA foreign_keys=ON");
  } catch (...) {
    sqlite3_close_v2(db_);
    throw;
  }
}

Database::~Database() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close_v2(db_);
}

Query Database::query(std::string_view sql) {
  auto found = statements_.find(std::string(sql));
  if (found == statements_.end()) {
    sqlite3_stmt* statement = nullptr;
    check(db_,
          sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()),
                             SQLITE_PREPARE_PERSISTENT, &statement, nullptr),
          sql);
    found = statements_.emplace(std::string(sql), statement).first;
  }
  return {db_, found->second};
}

void Database::execute(const std::string& sql) {
  check(db_, sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr), sql.substr(0, 60));
}

bool Database::in_transaction() const { return sqlite3_get_autocommit(db_) == 0; }

int Database::user_version() {
  auto q = query("PRAGMA user_version");
  return q.step() ? static_cast<int>(q.integer(0)) : 0;
}

void Database::set_user_version(int version) {
  execute("PRAGMA user_version=" + std::to_string(version));
}

Transaction::~Transaction() {
  // A full disk can make SQLite roll back by itself.
  if (!open_ || !db_.in_transaction()) return;
  try {
    db_.execute("ROLLBACK");
  } catch (const Error&) {
    // Nothing of it is durable either way; the next BEGIN will say what is wrong.
  }
}

void Transaction::commit() {
  db_.execute("COMMIT");
  open_ = false;
}

}  // namespace seamwright::coordinator
