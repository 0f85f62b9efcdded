// What tests that kill the service share: what clients were told, and what must hold afterwards.
// Threads: one test thread.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

#include "tests/integration/serve_process.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright {

// What clients were told, held against what they are told later.
class AcknowledgedJobs {
 public:
  using Json = nlohmann::json;
  void acknowledged(const std::string& id, const Json& request) {
    if (!id.empty()) requests_[id] = request;
  }
  std::size_t size() const { return requests_.size(); }
  // Every acknowledged job exists, and no state goes back.
  void look(ServeProcess& serve);
  // All of them end completed, with the bits of an undisturbed run and one file each.
  void expect_all_done(ServeProcess& serve, const std::filesystem::path& data);

 private:
  std::map<std::string, Json> requests_;
  std::map<std::string, std::string> seen_;
};

// How many files of videos there are of each job.
std::map<std::string, int> video_files(const std::filesystem::path& data);

// Waits until the service has died by its failpoint.
void expect_dies(ServeProcess& serve);

// The service dies at this failpoint while it makes two videos; another goes on, and nothing is
// lost.
void expect_nothing_lost_at(const std::string& point);

// Kills the coordinator or everything of a gang, at random moments, while jobs come in.
void expect_nothing_lost_in_random_kills(int kills, std::uint64_t seed);

std::string picture_bytes(media::TemporaryFolder& folder);
// A job that starts from a picture; its id, or "" when it was not acknowledged.
std::string submit_with_picture(ServeProcess& serve, const std::string& picture);

// A failpoint as the name of a test.
inline std::string point_name(const testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  for (char& c : name) {
    if (c == '.' || c == ':') c = '_';
  }
  return name;
}

}  // namespace seamwright
