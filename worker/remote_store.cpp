#include "worker/remote_store.h"

#include <fstream>

#include "media/files.h"

namespace seamwright::worker {
namespace {

constexpr std::int64_t kSegmentBytesMax = 200LL << 20;
// Beside the parts of the identity, which the coordinator keeps as they are.
constexpr const char* kIntervalPart = "checkpoint_interval";

std::string record_key(RecordKey key) { return fmt::format("record {} {}", key.at, key.level); }
std::string fetch_key(RecordKey key) { return fmt::format("fetch {} {}", key.at, key.level); }
std::string segment_key(std::int64_t first) { return fmt::format("segment {}", first); }

comm::Bytes bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

RecordKey key_in(const nlohmann::json& header) {
  return {header.at("at").get<int>(), header.at("level").get<int>()};
}

}  // namespace

nlohmann::json attempt_header(const std::string& type, const AttemptName& name) {
  return {{"type", type}, {"job", name.job}, {"attempt", name.attempt}};
}

RemoteStore::RemoteStore(GangLink& link, AttemptName name, const nlohmann::json& left,
                         const DurableIdentity& identity, std::filesystem::path scratch)
    : link_(link), name_(std::move(name)), scratch_(std::move(scratch)), identity_(identity.parts) {
  state_.attempt = name_.attempt;
  auto known = left.at("identity");
  if (known.is_object() && known.contains(kIntervalPart)) {
    known_interval_ = known.at(kIntervalPart).get<int>();
    known.erase(kIntervalPart);
  }
  if (known_interval_ && known == identity.parts) {
    state_.checkpoint_interval = *known_interval_;
    for (const auto& entry : left.at("segments")) {
      Segment segment;
      segment.first_frame = entry.at("first_frame").get<std::int64_t>();
      segment.end_frame = entry.at("end_frame").get<std::int64_t>();
      segment.notes = entry.at("notes");
      for (const auto& hex : entry.at("latents")) {
        segment.latents.push_back(digest_from_hex(hex.get<std::string>()));
      }
      if (segment.first_frame != state_.first_missing_frame()) break;
      state_.segments.push_back(std::move(segment));
    }
    for (const auto& entry : left.at("records")) {
      state_.records.push_back({entry.at(0).get<int>(), entry.at(1).get<int>()});
    }
  } else {
    known_interval_.reset();
  }
}

// The coordinator drops what was made for other parts, so the interval that it knows stays.
void RemoteStore::keep_interval(int levels) {
  auto header = attempt_header("attempt.identity", name_);
  header["parts"] = identity_;
  header["parts"][kIntervalPart] = known_interval_.value_or(levels);
  link_.deliver("identity", std::move(header));
}

RemoteStore::~RemoteStore() { end("the attempt is over"); }

void RemoteStore::check_ended() const {
  if (ended_) fail(ErrorCode::kCancelled, "{}", *ended_);
  if (refused_) throw Error(*refused_);
}

comm::Bytes RemoteStore::load_record(RecordKey key) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    check_ended();
    first = loading_[key].waiting++ == 0;
  }
  if (first) {
    auto header = attempt_header("attempt.fetch", name_);
    header["at"] = key.at;
    header["level"] = key.level;
    link_.deliver(fetch_key(key), std::move(header));
  }
  std::unique_lock lock(mutex_);
  Loading& loading = loading_.at(key);
  changed_.wait(lock, [&] { return ended_ || refused_ || loading.bytes.has_value(); });
  if (!loading.bytes) check_ended();
  auto bytes = *loading.bytes;
  if (--loading.waiting == 0) loading_.erase(key);
  return bytes;
}

void RemoteStore::save_record(RecordKey key, comm::Bytes bytes, Acknowledge acknowledge) {
  auto header = attempt_header("attempt.record", name_);
  header["at"] = key.at;
  header["level"] = key.level;
  {
    const std::lock_guard lock(mutex_);
    check_ended();
    saving_.emplace(key, std::move(acknowledge));
  }
  try {
    link_.deliver(record_key(key), std::move(header), std::move(bytes));
  } catch (const Error& error) {
    refuse_all(error);  // nothing later may count as durable, and nobody waits for this one
    throw;
  }
}

void RemoteStore::delete_record(RecordKey key) {
  auto header = attempt_header("attempt.drop", name_);
  header["at"] = key.at;
  header["level"] = key.level;
  link_.tell(std::move(header));  // one that is kept too long goes with the job
}

std::filesystem::path RemoteStore::segment_draft(std::int64_t first_frame) {
  return scratch_ / fmt::format("{}-{}-{}.mp4", name_.job, name_.attempt, first_frame);
}

Segment RemoteStore::commit_segment(Segment segment) {
  const auto first = segment.first_frame;
  auto payload = bytes_of(segment.file.empty() ? std::string()
                                               : media::read_file(segment.file, kSegmentBytesMax));
  auto header = attempt_header("attempt.segment", name_);
  header["first_frame"] = first;
  header["end_frame"] = segment.end_frame;
  header["media_bytes"] = payload.size();
  nlohmann::json detail = {{"latents", nlohmann::json::array()}, {"notes", segment.notes}};
  for (const auto& digest : segment.latents) detail["latents"].push_back(to_hex(digest));
  const auto text = bytes_of(detail.dump());
  payload.insert(payload.end(), text.begin(), text.end());
  {
    const std::lock_guard lock(mutex_);
    check_ended();
    committing_[first] = false;
  }
  link_.deliver(segment_key(first), std::move(header), std::move(payload));
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return ended_ || refused_ || committing_.at(first); });
  const bool committed = committing_.at(first);
  committing_.erase(first);
  if (!committed) check_ended();
  std::error_code ignored;
  std::filesystem::remove(segment.file, ignored);
  segment.file.clear();
  return segment;
}

void RemoteStore::flush() {
  std::unique_lock lock(mutex_);
  // Also after the end: whoever waits here may be gone before a call that is under way returns.
  changed_.wait(lock,
                [this] { return acknowledging_ == 0 && (ended_ || refused_ || saving_.empty()); });
  check_ended();
}

void RemoteStore::handle(const comm::ControlMessage& message) {
  const auto type = message.type();
  const auto& header = message.header;
  if (type == "attempt.refused") return refuse(header);
  if (type == "attempt.segment_saved") {
    const auto first = header.at("first_frame").get<std::int64_t>();
    link_.acknowledged(segment_key(first));
    const std::lock_guard lock(mutex_);
    if (committing_.contains(first)) committing_[first] = true;
    changed_.notify_all();
    return;
  }
  if (type == "attempt.identity_saved") return link_.acknowledged("identity");
  if (type != "attempt.record_saved" && type != "attempt.record") return;
  const auto key = key_in(header);
  if (type == "attempt.record") {
    link_.acknowledged(fetch_key(key));
    const std::lock_guard lock(mutex_);
    if (loading_.contains(key)) loading_[key].bytes = message.payload;
    changed_.notify_all();
    return;
  }
  link_.acknowledged(record_key(key));
  Acknowledge acknowledge;
  {
    const std::lock_guard lock(mutex_);
    const auto found = saving_.find(key);
    if (found == saving_.end()) return;
    acknowledge = std::move(found->second);
    saving_.erase(found);
    ++acknowledging_;
  }
  if (acknowledge) acknowledge(nullptr);
  acknowledgements_done();
}

void RemoteStore::acknowledge_all(const Error& error, decltype(saving_) waiting) {
  for (auto& [key, acknowledge] : waiting) {
    if (acknowledge) acknowledge(&error);
  }
  acknowledgements_done();
}

void RemoteStore::acknowledgements_done() {
  const std::lock_guard lock(mutex_);
  --acknowledging_;
  changed_.notify_all();
}

void RemoteStore::refuse(const nlohmann::json& header) {
  const auto code = header.value("code", "");
  refuse_all(Error(code == "out_of_disk" ? ErrorCode::kResource
                   : code == "damaged_record" || code == "unreadable_record"
                       ? ErrorCode::kUnavailable
                       : ErrorCode::kIo,
                   header.value("message", "the coordinator could not store it")));
}

void RemoteStore::refuse_all(const Error& error) {
  decltype(saving_) waiting;
  {
    const std::lock_guard lock(mutex_);
    if (!refused_) refused_ = error;
    waiting.swap(saving_);
    ++acknowledging_;
    changed_.notify_all();
  }
  acknowledge_all(error, std::move(waiting));
}

void RemoteStore::end(const std::string& why) {
  const Error error(ErrorCode::kCancelled, why);
  decltype(saving_) waiting;
  {
    const std::lock_guard lock(mutex_);
    if (!ended_) ended_ = why;
    waiting.swap(saving_);
    ++acknowledging_;
    changed_.notify_all();
  }
  acknowledge_all(error, std::move(waiting));
}

}  // namespace seamwright::worker
