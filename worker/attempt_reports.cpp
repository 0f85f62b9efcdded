#include "worker/attempt_reports.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "media/image.h"

namespace seamwright::worker {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kProgressInterval{250};
constexpr std::chrono::milliseconds kPreviewInterval{1000};
constexpr std::chrono::milliseconds kSpansInterval{1000};
constexpr std::size_t kSpansAtOnce = 500;
constexpr int kPreviewWidth = 384;

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// The word a client can act on.
std::string failure_code(const Error& error) {
  const std::string text = error.what();
  for (const char* full : {"disk is full", "No space left"}) {
    if (text.find(full) != std::string::npos) return "out_of_disk";
  }
  switch (error.code()) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kUnsupported:
      return "invalid_request";
    case ErrorCode::kNotFound:
      return "model_not_found";
    case ErrorCode::kCorrupt:
      return "invalid_model";
    case ErrorCode::kResource:
      return text.find("disk") != std::string::npos ? "out_of_disk" : "out_of_memory";
    case ErrorCode::kIo:
      return "io_error";
    default:
      return "engine_error";
  }
}

// Trying again elsewhere may help.
bool retryable(const Error& error) {
  return error.code() == ErrorCode::kUnavailable || error.code() == ErrorCode::kInternal ||
         error.code() == ErrorCode::kIo;
}

}  // namespace

AttemptReports::AttemptReports(GangLink& link, AttemptName name, const JobRequest& request,
                               std::chrono::milliseconds alive_interval)
    : link_(link),
      name_(std::move(name)),
      request_(request),
      alive_interval_(alive_interval),
      begin_unix_(unix_seconds()) {
  auto header = attempt_header("attempt.progress", name_);
  header["phase"] = "loading";
  state_ = header;
  said_ = Clock::now();
  link_.tell(std::move(header));
}

AttemptReports::~AttemptReports() {
  for (auto& [rank, spans] : spans_) send_tasks(rank, std::move(spans.tasks));
}

GenerateHooks AttemptReports::hooks() {
  GenerateHooks hooks;
  hooks.note = [this](const std::string& line) {
    auto header = attempt_header("attempt.log", name_);
    header["line"] = line;
    link_.tell(std::move(header));
  };
  hooks.progress = [this](const Progress& p) { progress(p); };
  hooks.alive = [this] { alive(); };
  hooks.frames = [this](const DecodedChunk& chunk) { frames(chunk); };
  hooks.task = [this](int rank, const scheduling::Task& t, Clock::time_point begin,
                      Clock::time_point end) { task(rank, t, begin, end); };
  return hooks;
}

// The newest finished frame, small.
void AttemptReports::frames(const DecodedChunk& chunk) {
  const auto now = Clock::now();
  if (now - last_preview_ < kPreviewInterval || chunk.count == 0) return;
  last_preview_ = now;
  const auto size = chunk.pixels.size() / static_cast<std::size_t>(chunk.count);
  const media::RgbView frame{request_.width, request_.height, chunk.pixels.last(size)};
  const int width = std::min(kPreviewWidth, frame.width);
  const auto small =
      media::resize_box(frame, width, std::max(1, frame.height * width / frame.width));
  const auto png = media::encode_png(small.view());
  const auto bytes = std::as_bytes(std::span(png));
  auto header = attempt_header("attempt.preview", name_);
  header["frame"] = chunk.first_frame + chunk.count - 1;
  link_.tell(std::move(header), {bytes.begin(), bytes.end()});
}

void AttemptReports::task(int rank, const scheduling::Task& t, Clock::time_point begin,
                          Clock::time_point end) {
  const auto unix_time = [&](Clock::time_point at) {
    const double seconds = std::chrono::duration<double>(at - begin_).count();
    return std::round((begin_unix_ + seconds) * 1e6) / 1e6;
  };
  const std::lock_guard lock(mutex_);
  auto& spans = spans_[rank];
  spans.tasks.push_back({{"kind", std::string(scheduling::to_string(t.kind))},
                         {"window", t.window},
                         {"step", t.step},
                         {"begin", unix_time(begin)},
                         {"end", unix_time(end)}});
  if (end - spans.sent < kSpansInterval && spans.tasks.size() < kSpansAtOnce) return;
  spans.sent = end;
  send_tasks(rank, std::exchange(spans.tasks, nlohmann::json::array()));
}

void AttemptReports::send_tasks(int rank, nlohmann::json tasks) {
  if (tasks.empty()) return;
  auto header = attempt_header("attempt.timeline", name_);
  header["rank"] = rank;
  header["tasks"] = std::move(tasks);
  link_.tell(std::move(header));
}

void AttemptReports::progress(const Progress& p) {
  const auto now = Clock::now();
  const bool last = p.evaluations == p.evaluations_total;
  if (now - last_progress_ < kProgressInterval && !last) return;
  last_progress_ = now;
  auto header = attempt_header("attempt.progress", name_);
  header["phase"] = "running";
  header["evaluations"] = p.evaluations;
  header["evaluations_total"] = p.evaluations_total;
  header["frames"] = p.frames;
  const double share = p.evaluations_total > 0 ? static_cast<double>(p.evaluations) /
                                                     static_cast<double>(p.evaluations_total)
                                               : 0.0;
  header["share"] = share;
  if (share > 0 && p.seconds > 0) header["seconds_left"] = p.seconds * (1 - share) / share;
  if (p.frames > 0 && p.seconds > 0) {
    header["frames_per_second"] = static_cast<double>(p.frames) / p.seconds;
  }
  {
    const std::lock_guard lock(mutex_);
    state_ = header;
    said_ = now;
  }
  link_.tell(std::move(header));
}

// The same again: a step may take longer than a coordinator waits for news.
void AttemptReports::alive() {
  nlohmann::json header;
  {
    const std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    if (now - said_ < alive_interval_) return;
    said_ = now;
    header = state_;
  }
  header["alive"] = true;
  link_.tell(std::move(header));
}

comm::Bytes end_report(const GenerateResult& result) {
  auto report = result.report;
  report.erase("request");
  const std::string text = report.dump();
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

nlohmann::json failure_report(const AttemptName& name, const Error& error) {
  auto header = attempt_header("attempt.failed", name);
  header["code"] = failure_code(error);
  header["message"] = error.what();
  header["retryable"] = retryable(error);
  return header;
}

}  // namespace seamwright::worker
