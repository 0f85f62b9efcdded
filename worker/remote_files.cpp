#include "worker/remote_files.h"

#include <fstream>

#include "base/error.h"

namespace seamwright::worker {
namespace {

namespace fs = std::filesystem;

std::string piece_key(const std::string& name, std::int64_t offset) {
  return fmt::format("file {} {}", name, offset);
}

}  // namespace

RemoteFiles::RemoteFiles(GangLink& link, AttemptName name, const nlohmann::json& list,
                         fs::path scratch)
    : link_(link), name_(std::move(name)), scratch_(std::move(scratch)) {
  for (const auto& file : list) {
    sizes_[file.at("name").get<std::string>()] = file.at("bytes").get<std::int64_t>();
  }
}

RemoteFiles::~RemoteFiles() {
  std::error_code ignored;
  for (const auto& [name, path] : fetched_) fs::remove(path, ignored);
}

void RemoteFiles::localize(JobRequest& request) {
  for (auto* file : given_files(request)) {
    if (!fetched_.contains(*file)) {
      const auto size = sizes_.find(*file);
      if (size == sizes_.end()) {
        fail(ErrorCode::kInternal, "the coordinator did not say where {} is", *file);
      }
      const auto path =
          scratch_ / fmt::format("{}-{}-given-{}", name_.job, name_.attempt, fetched_.size());
      fetched_[*file] = path;  // first, so that a part of it goes too
      fetch(*file, size->second, path);
    }
    *file = fetched_.at(*file).string();
  }
}

void RemoteFiles::fetch(const std::string& name, std::int64_t bytes, const fs::path& to) {
  std::ofstream out(to, std::ios::binary);
  std::int64_t offset = 0;
  while (offset < bytes) {
    const auto piece = fetch_piece(name, offset);
    if (piece.empty()) fail(ErrorCode::kIo, "{} ends after {} of {} bytes", name, offset, bytes);
    out.write(reinterpret_cast<const char*>(piece.data()),
              static_cast<std::streamsize>(piece.size()));
    offset += static_cast<std::int64_t>(piece.size());
  }
  out.close();
  if (!out) fail(ErrorCode::kResource, "{} cannot be written: is the disk full?", to.string());
}

comm::Bytes RemoteFiles::fetch_piece(const std::string& name, std::int64_t offset) {
  const auto key = piece_key(name, offset);
  {
    const std::lock_guard lock(mutex_);
    wanted_ = key;
    piece_.reset();
  }
  auto header = attempt_header("attempt.fetch_file", name_);
  header["file"] = name;
  header["offset"] = offset;
  link_.deliver(key, std::move(header));
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ended_ || refused_ || piece_; });
  if (ended_) fail(ErrorCode::kCancelled, "{}", *ended_);
  if (refused_) fail(ErrorCode::kIo, "{}", *refused_);
  return std::move(*piece_);
}

void RemoteFiles::handle(const comm::ControlMessage& message) {
  const auto type = message.type();
  if (type != "attempt.file" && type != "attempt.refused") return;
  const auto& header = message.header;
  if (!header.contains("file")) return;
  const auto key =
      piece_key(header.at("file").get<std::string>(), header.at("offset").get<std::int64_t>());
  link_.acknowledged(key);
  const std::lock_guard lock(mutex_);
  if (key != wanted_) return;  // a repeated answer
  if (type == "attempt.refused") {
    refused_ = header.value("message", "the coordinator has not got the file");
  } else {
    piece_ = message.payload;
  }
  changed_.notify_all();
}

void RemoteFiles::end(const std::string& why) {
  const std::lock_guard lock(mutex_);
  if (!ended_) ended_ = why;
  changed_.notify_all();
}

}  // namespace seamwright::worker
