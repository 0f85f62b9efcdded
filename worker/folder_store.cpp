#include "worker/folder_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <set>
#include <sstream>
#include <thread>

#include "base/log.h"
#include "media/files.h"
#include "worker/folder_lock.h"
#include "worker/record_file.h"
#include "worker/segment_files.h"

namespace seamwright::worker {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kFormat = "seamwright-durable";
constexpr int kFolderVersion = 1;
constexpr const char* kJobName = "job.json";
constexpr const char* kCountsName = "evaluations";
constexpr const char* kIntervalName = "interval";
constexpr std::int64_t kRecordBytesMax = std::int64_t{4} << 30;

void write_durably(const fs::path& path, std::string_view bytes) {
  media::FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  int error = file ? 0 : errno;
  while (error == 0 && !bytes.empty()) {
    const ssize_t n = ::write(file.get(), bytes.data(), bytes.size());
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  if (error == 0 && ::fsync(file.get()) != 0) error = errno;
  if (error == 0) return;
  ::unlink(path.c_str());
  fail(ErrorCode::kIo,
       "cannot write the checkpoint {}: {}; free some space, or choose another "
       "folder for --resume",
       path.string(), std::strerror(error));
}

class FolderStore final : public DurableStore {
 public:
  FolderStore(fs::path folder, const DurableIdentity& identity, FolderStoreOptions options)
      : folder_(std::move(folder)),
        fingerprint_(identity.fingerprint()),
        options_(std::move(options)) {
    if (!options_.warn) {
      options_.warn = [](const std::string& line) { log_warning("{}", line); };
    }
    prepare_folder();
    lock_.emplace(folder_, options_.lock_patience);
    check_identity(identity);
    state_.attempt = lock_->generation();
    state_.write_s = lock_->write_s();
    remove_drafts();
    open_counts();
    read_records();
    read_interval();
    state_.segments = read_segments(segments(), fingerprint_, options_.warn);
    writer_ = std::thread([this] { write_loop(); });
  }

  ~FolderStore() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    writer_.join();
  }

  const DurableState& state() const override { return state_; }

  void keep_interval(int levels) override {
    lock_->check();
    media::write_file_atomically(folder_ / kIntervalName, fmt::format("{}\n", levels));
  }

  comm::Bytes load_record(RecordKey key) override {
    const auto text = read_record(key);
    const auto payload =
        decode_record(std::as_bytes(std::span(text.data(), text.size())), {fingerprint_, 0, key});
    return {payload.begin(), payload.end()};
  }

  void save_record(RecordKey key, comm::Bytes bytes, Acknowledge acknowledge) override {
    const std::lock_guard lock(mutex_);
    queue_.push_back({key, std::move(bytes), std::move(acknowledge), false});
    changed_.notify_all();
  }

  void delete_record(RecordKey key) override {
    const std::lock_guard lock(mutex_);
    queue_.push_back({key, {}, {}, true});
    changed_.notify_all();
  }

  fs::path segment_draft(std::int64_t first_frame) override {
    return segments() / fmt::format("draft-{}-{:08d}.mp4", state_.attempt, first_frame);
  }

  Segment commit_segment(Segment segment) override {
    lock_->check();
    return write_segment(segments(), fingerprint_, state_.attempt, std::move(segment), [this] {
      lock_->check();
      step("segment");
    });
  }

  void note_evaluations(std::int64_t count) override {
    const auto line = fmt::format("{:>20}\n", count);
    // Only a count: a failed write is no reason to stop.
    if (::pwrite(counts_.get(), line.data(), line.size(), counts_at_) < 0) return;
  }

  void flush() override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return queue_.empty() && !busy_; });
  }

 private:
  struct Work {
    RecordKey key;
    comm::Bytes bytes;
    Acknowledge acknowledge;
    bool erase = false;
  };

  fs::path records() const { return folder_ / "records"; }
  fs::path segments() const { return folder_ / "segments"; }
  fs::path record_path(RecordKey key) const { return records() / record_file_name(key); }
  void step(const char* where) const {
    if (options_.step) options_.step(where);
  }

  void prepare_folder() const {
    if (fs::exists(folder_) && !fs::is_directory(folder_)) {
      fail(ErrorCode::kIo, "{} is a file; --resume needs a folder", folder_.string());
    }
    static const std::set<std::string> ours = {kJobName,   "lock",      "generation", "records",
                                               "segments", kCountsName, kIntervalName};
    if (fs::exists(folder_)) {
      for (const auto& entry : fs::directory_iterator(folder_)) {
        const auto name = entry.path().filename().string();
        if (!ours.contains(name) && name.find(".tmp-") == std::string::npos) {
          fail(ErrorCode::kIo,
               "the folder {} holds other files ({}); give --resume a folder of its "
               "own",
               folder_.string(), name);
        }
      }
    }
    for (const auto& path : {records(), segments()}) media::create_folders(path);
    media::sync_path(folder_);
  }

  void check_identity(const DurableIdentity& identity) const {
    const auto path = folder_ / kJobName;
    if (!fs::exists(path)) {
      const Json job{{"format", kFormat},
                     {"version", kFolderVersion},
                     {"fingerprint", to_hex(fingerprint_)},
                     {"identity", identity.parts}};
      media::write_file_atomically(path, job.dump(2) + "\n");
      return;
    }
    const auto job = Json::parse(media::read_file(path, 64 << 20), nullptr, false);
    if (!job.is_object() || job.value("format", "") != kFormat ||
        job.value("version", 0) != kFolderVersion || !job.contains("identity")) {
      fail(ErrorCode::kCorrupt, "{} is damaged or of another version; give another folder",
           path.string());
    }
    if (job.at("identity") == identity.parts) return;
    std::string differs;
    for (const auto& change : Json::diff(job.at("identity"), identity.parts)) {
      const Json::json_pointer at(change.at("path").get<std::string>());
      const auto text = [&](const Json& all) {
        return all.contains(at) ? all.at(at).dump() : std::string("absent");
      };
      differs += fmt::format("\n  {}: {} there, {} now", at.to_string(), text(job.at("identity")),
                             text(identity.parts));
    }
    fail(ErrorCode::kInvalidArgument,
         "{} was made by another job, so nothing in it can be used; repeat that job exactly, or "
         "give "
         "another folder. What differs:{}",
         folder_.string(), differs);
  }

  std::string read_record(RecordKey key) const {
    return media::read_file(record_path(key), kRecordBytesMax);
  }

  // Everything is verified once here; what is damaged is as good as absent.
  void read_records() {
    for (const auto& entry : fs::directory_iterator(records())) {
      std::error_code ignored;
      const auto name = entry.path().filename().string();
      const auto key = parse_record_file_name(name);
      if (!key) {
        if (name.ends_with(".tmp")) {
          fs::remove(entry.path(), ignored);  // of an attempt that ended in the middle
        } else {
          options_.warn(fmt::format("{} is ignored: it is not a record", entry.path().string()));
        }
        continue;
      }
      try {
        const auto text = read_record(*key);
        decode_record(std::as_bytes(std::span(text.data(), text.size())), {fingerprint_, 0, *key});
        state_.records.push_back(*key);
      } catch (const Error& error) {
        options_.warn(fmt::format("{} is ignored: {}", entry.path().string(), error.what()));
        fs::remove(entry.path(), ignored);
      }
    }
    std::sort(state_.records.begin(), state_.records.end());
  }

  void read_interval() {
    const auto path = folder_ / kIntervalName;
    if (state_.records.empty() || !fs::exists(path)) return;
    std::istringstream(media::read_file(path, 1 << 10)) >> state_.checkpoint_interval;
  }

  // A line for each attempt, all of one length; this one's is written over and over.
  void open_counts() {
    const auto path = folder_ / kCountsName;
    const auto text = fs::exists(path) ? media::read_file(path, 1 << 20) : std::string();
    std::istringstream lines(text);
    for (std::int64_t count = 0; lines >> count;) state_.evaluations += count;
    counts_at_ = static_cast<off_t>(text.size());
    counts_ = media::FileDescriptor(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
  }

  // What attempts that ended in the middle left behind.
  void remove_drafts() const {
    for (const auto& folder : {folder_, segments()}) {
      for (const auto& entry : fs::directory_iterator(folder)) {
        std::error_code ignored;
        const auto name = entry.path().filename().string();
        if (name.starts_with("draft-") || name.find(".tmp-") != std::string::npos) {
          fs::remove(entry.path(), ignored);
        }
      }
    }
  }

  // One fsync of the folder for everything that came together.
  void write_loop() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      std::vector<Work> batch;
      batch.swap(queue_);
      busy_ = true;
      lock.unlock();
      changed_.notify_all();
      write_batch(batch);
      lock.lock();
      busy_ = false;
      changed_.notify_all();
    }
  }

  void write_batch(const std::vector<Work>& batch) {
    std::optional<Error> error = failure_;
    try {
      if (!error) {
        lock_->check();
        write_records(batch);
      }
    } catch (const Error& caught) {
      error = caught;
    } catch (const std::exception& caught) {
      error.emplace(ErrorCode::kIo, caught.what());
    }
    failure_ = error;  // after a failure nothing later may count as durable
    for (const auto& work : batch) {
      if (work.acknowledge) work.acknowledge(error ? &*error : nullptr);
    }
  }

  void write_records(const std::vector<Work>& batch) const {
    bool written = false;
    for (const auto& work : batch) {
      if (work.erase) continue;
      const auto path = record_path(work.key);
      auto draft = path;
      draft += ".tmp";
      write_durably(draft, encode_record({fingerprint_, state_.attempt, work.key}, work.bytes));
      step("record");
      if (::rename(draft.c_str(), path.c_str()) != 0) {
        fail(ErrorCode::kIo, "cannot rename {}: {}", draft.string(), std::strerror(errno));
      }
      written = true;
    }
    step("records");
    if (written) media::sync_path(records());
    for (const auto& work : batch) {
      if (work.erase) ::unlink(record_path(work.key).c_str());
    }
  }

  const fs::path folder_;
  const Sha256Digest fingerprint_;
  FolderStoreOptions options_;
  std::optional<FolderLock> lock_;
  media::FileDescriptor counts_;
  off_t counts_at_ = 0;
  DurableState state_;
  std::optional<Error> failure_;  // the writer's thread only

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Work> queue_;
  bool busy_ = false, stopping_ = false;
  std::thread writer_;
};

}  // namespace

std::unique_ptr<DurableStore> open_folder_store(const fs::path& folder,
                                                const DurableIdentity& identity,
                                                const FolderStoreOptions& options) {
  return std::make_unique<FolderStore>(folder, identity, options);
}

}  // namespace seamwright::worker
