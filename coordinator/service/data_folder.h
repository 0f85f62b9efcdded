// The folder that holds everything durable: its parts, its lock, and files that are complete or
// absent.
// Threads: safe from any thread on different names.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <span>
#include <string>

namespace seamwright::coordinator {

class DataFolder {
 public:
  // Creates it where needed and locks it. Throws kUnavailable when another service has it.
  explicit DataFolder(const std::filesystem::path& path);
  ~DataFolder();
  DataFolder(const DataFolder&) = delete;
  DataFolder& operator=(const DataFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path job_store() const { return path_ / "jobs.db"; }
  std::filesystem::path record_store() const { return path_ / "records.db"; }
  // Of a name like "videos/video_1-2.mp4".
  std::filesystem::path file(const std::string& name) const { return path_ / name; }
  std::filesystem::path preview(const std::string& job) const;
  std::filesystem::path timeline(const std::string& job) const;

  // Temporary file, fsync, rename, fsync of the folder; `what`
  // names the failpoints. kIo, kResource.
  void write_durably(const std::string& name, std::span<const std::byte> bytes,
                     const std::string& what) const;
  // The same file under another name of this folder, or a copy of it. kIo, kResource.
  void link_durably(const std::filesystem::path& from, const std::string& name) const;
  // Complete or absent, but not made durable: for what can be made again.
  void write_lightly(const std::filesystem::path& file, std::span<const std::byte> bytes) const;
  // What another process of the service had begun in videos/ and its ffmpeg finished after its end.
  void remove_left_drafts() const noexcept;
  void remove_file(const std::string& name) const noexcept;
  // Deletes every file that nobody committed, and previews and timelines of unknown jobs.
  void keep_only(const std::set<std::string>& names, const std::set<std::string>& jobs) const;

 private:
  std::filesystem::path path_;
  int lock_ = -1;
};

}  // namespace seamwright::coordinator
