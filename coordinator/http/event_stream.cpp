#include "coordinator/http/event_stream.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "coordinator/http/video_object.h"
#include "media/metadata.h"

namespace seamwright::coordinator::http {
namespace {

// A reader this far behind is cut off; it comes back with Last-Event-ID and misses nothing.
constexpr std::size_t kMaxWaiting = 4096;
constexpr std::size_t kMaxPieceBytes = 64 * 1024;
constexpr auto kStillHere = std::chrono::seconds(10);
// Past events of a finished job arrive one after another; a pause this long means that was all.
constexpr auto kReplayPause = std::chrono::milliseconds(300);

std::string event_lines(const JobEvent& event, bool with_id) {
  return sse_text(with_id ? fmt::format("{}", event.sequence) : "", event.kind,
                  event.text ? *event.text : event_text(event));
}

bool is_final(JobState state) {
  return state == JobState::kCompleted || state == JobState::kFailed;
}

}  // namespace

std::string sse_text(const std::string& id, const std::string& kind, const std::string& data) {
  std::string text;
  if (!id.empty()) text += "id: " + id + "\n";
  text += "event: " + kind + "\ndata: " + data + "\n\n";  // compact JSON has no line ends
  return text;
}

EventStream::EventStream(JobService& service, std::string job, std::string owner,
                         std::uint64_t after_sequence, bool follow)
    : service_(service),
      job_(std::move(job)),
      owner_(std::move(owner)),
      after_sequence_(after_sequence),
      follow_(follow) {}

void EventStream::start(std::function<void()> wake) {
  wake_ = std::move(wake);
  subscription_ = service_.subscribe(job_, owner_, after_sequence_,
                                     [this](const JobEvent& event) { receive(event); });
}

void EventStream::receive(const JobEvent& event) {
  {
    const std::scoped_lock lock(mutex_);
    if (waiting_.size() >= kMaxWaiting) {
      overflowed_ = true;
    } else {
      waiting_.push_back(event_lines(event, !job_.empty()));
    }
    state_changed_ = state_changed_ || event.kind == "state";
  }
  wake_();
}

std::string EventStream::snapshot() {
  try {
    const JobView job = service_.get(job_, owner_);
    final_ = is_final(job.state);
    return sse_text("", "video", media::to_text(video_object(job)));
  } catch (const ApiError&) {
    final_ = true;  // removed meanwhile
    return {};
  }
}

BodyStream::Piece EventStream::next() {
  Piece piece;
  bool look = false, lost = false;
  {
    const std::scoped_lock lock(mutex_);
    while (!waiting_.empty() && piece.bytes.size() < kMaxPieceBytes) {
      piece.bytes += waiting_.front();
      waiting_.pop_front();
    }
    look = state_changed_ && waiting_.empty();
    if (look) state_changed_ = false;
    lost = overflowed_ && waiting_.empty();
  }
  const auto now = Clock::now();
  const bool quiet = piece.bytes.empty();
  if (!job_.empty() && !greeted_) {
    greeted_ = true;
    piece.bytes.insert(0, "retry: 1000\n" + snapshot());
  } else if (!job_.empty() && look) {
    piece.bytes += snapshot();
  }
  if (!quiet) last_event_ = now;
  if (lost) {
    piece.finished = true;
  } else if ((final_ || !follow_) && quiet && now - last_event_ >= kReplayPause) {
    // Who comes back for more of a job that goes on must not be told that it is over.
    piece.bytes += sse_text(final_ ? std::string(kEndId) : "", "end", "{}");
    piece.finished = true;
  } else if (piece.bytes.empty() && now - last_event_ >= kStillHere) {
    last_event_ = now;
    piece.bytes = ": still here\n\n";
    if (!job_.empty()) piece.bytes += snapshot();
  }
  return piece;
}

std::chrono::milliseconds EventStream::patience() const {
  return final_ || !follow_ ? std::chrono::milliseconds(kReplayPause)
                            : std::chrono::milliseconds(kStillHere);
}

}  // namespace seamwright::coordinator::http
