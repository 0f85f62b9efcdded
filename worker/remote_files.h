// Files that a job starts from, fetched from the coordinator piece by piece into a folder of the
// gang.
// Threads: fetch() blocks one thread; handle() and end() from the link's thread.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "base/request.h"
#include "worker/gang_link.h"
#include "worker/remote_store.h"

namespace seamwright::worker {

class RemoteFiles {
 public:
  // `list` is what attempt.start brought: [{"name", "bytes"}]. The files go with the object.
  RemoteFiles(GangLink& link, AttemptName name, const nlohmann::json& list,
              std::filesystem::path scratch);
  ~RemoteFiles();
  RemoteFiles(const RemoteFiles&) = delete;
  RemoteFiles& operator=(const RemoteFiles&) = delete;

  // Fetches every file that the request names and puts its path in the name's place. Throws
  // kCancelled after end(), and what the coordinator says of a file it has not got.
  void localize(JobRequest& request);

  void handle(const comm::ControlMessage& message);
  void end(const std::string& why);

 private:
  void fetch(const std::string& name, std::int64_t bytes, const std::filesystem::path& to);
  comm::Bytes fetch_piece(const std::string& name, std::int64_t offset);

  GangLink& link_;
  const AttemptName name_;
  const std::filesystem::path scratch_;
  std::map<std::string, std::int64_t> sizes_;             // by name
  std::map<std::string, std::filesystem::path> fetched_;  // by name

  std::mutex mutex_;
  std::condition_variable changed_;
  std::string wanted_;  // key of the piece that is waited for
  std::optional<comm::Bytes> piece_;
  std::optional<std::string> ended_, refused_;
};

}  // namespace seamwright::worker
