// One SQLite connection and its prepared statements, with errors as exceptions.
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

struct sqlite3;
struct sqlite3_stmt;

namespace seamwright::coordinator {

// A prepared statement that is being run: bind in order, step through rows, read columns in order.
class Query {
 public:
  Query(sqlite3* db, sqlite3_stmt* statement) : db_(db), statement_(statement) {}
  ~Query();  // resets the statement for its next use
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  Query& bind(std::int64_t value);
  Query& bind(std::string_view text);
  Query& bind(std::span<const std::byte> bytes);
  Query& bind_null();

  // True while there is a row. Throws kResource for a full disk, kIo, kCorrupt.
  bool step();
  void run();  // for statements without rows

  std::int64_t integer(int column) const;
  std::string text(int column) const;
  bool is_null(int column) const;
  std::span<const std::byte> bytes(int column) const;  // until the next step

 private:
  sqlite3* db_;
  sqlite3_stmt* statement_;
  int next_parameter_ = 1;
};

class Database {
 public:
  // WAL, synchronous=FULL. Creates the file. Throws kIo, kCorrupt.
  explicit Database(const std::filesystem::path& file);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // The statement is prepared once and kept.
  Query query(std::string_view sql);
  void execute(const std::string& sql);  // any number of statements, no parameters
  bool in_transaction() const;

  int user_version();
  void set_user_version(int version);

 private:
  std::filesystem::path file_;
  sqlite3* db_ = nullptr;
  std::unordered_map<std::string, sqlite3_stmt*> statements_;
};

// Rolls back unless committed.
class Transaction {
 public:
  explicit Transaction(Database& db) : db_(db) { db_.execute("BEGIN IMMEDIATE"); }
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  Database& db_;
  bool open_ = true;
};

}  // namespace seamwright::coordinator
