// Durable records of latents, by job and key: what a job goes on from when its gang is lost. In a
// database of its own, so that their bytes never delay an answer. Each belongs to an identity, the
// numerics it was computed with: under another one it is as if it were not there, because the job
// and its records do not change in one transaction.
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/buffer.h"

namespace seamwright::coordinator {

class Database;

class RecordStore {
 public:
  struct Key {
    int at = 0, level = 0;
    auto operator<=>(const Key&) const = default;
  };

  // Creates the file, or opens it. Records of an older version go; throws kUnsupported for a newer
  // one.
  explicit RecordStore(const std::filesystem::path& file);
  ~RecordStore();

  // Durable when it returns. Saving a record again replaces it: its bytes are the same.
  void save(const std::string& job, const std::string& identity, Key key,
            std::span<const std::byte> bytes);
  // Throws kCorrupt when the bytes have changed, kNotFound.
  comm::Bytes load(const std::string& job, const std::string& identity, Key key);
  std::vector<Key> keys(const std::string& job, const std::string& identity);
  void remove(const std::string& job, Key key);
  void remove_all(const std::string& job);
  std::vector<std::string> jobs();

 private:
  std::unique_ptr<Database> db_;
};

}  // namespace seamwright::coordinator
