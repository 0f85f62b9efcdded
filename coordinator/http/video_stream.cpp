#include "coordinator/http/video_stream.h"

#include "base/error.h"
#include "base/log.h"
#include "media/files.h"
#include "media/segment_writer.h"

namespace seamwright::coordinator::http {
namespace {

constexpr std::int64_t kMaxSegmentBytes = 256LL << 20;
constexpr std::size_t kPieceBytes = 128 * 1024;

}  // namespace

VideoStream::VideoStream(JobService& service, std::string job, std::string owner)
    : service_(service), job_(std::move(job)), owner_(std::move(owner)) {}

void VideoStream::start(std::function<void()> wake) {
  wake_ = std::move(wake);
  // Only for the wake-ups; what is safe to send is asked of the service each time.
  subscription_ = service_.subscribe(job_, owner_, UINT64_MAX, [this](const JobEvent& event) {
    if (event.kind == "segment" || event.kind == "state") wake_();
  });
}

BodyStream::Piece VideoStream::next() {
  Piece piece;
  try {
    if (pending_at_ == pending_.size()) {
      pending_.clear();
      pending_at_ = 0;
      const auto segments = service_.segments(job_, owner_);
      // Those already sent stay the first ones; otherwise they were deleted, and what would have
      // come next with them.
      const bool gone = segments.closed.size() < sent_;
      if (gone) {
        log_warning("http: the stream of {} ends early: its pieces are no longer kept", job_);
        piece.broken = true;
        return piece;
      }
      if (sent_ == segments.closed.size()) {
        piece.finished = segments.complete;
        return piece;
      }
      const std::string bytes = media::read_file(segments.closed[sent_].file, kMaxSegmentBytes);
      // Every segment is a file of its own; only the first may say how the stream begins.
      pending_ = sent_ == 0 ? bytes : media::media_part(bytes);
      ++sent_;
    }
    piece.bytes = pending_.substr(pending_at_, kPieceBytes);
    pending_at_ += piece.bytes.size();
  } catch (const ApiError&) {
    piece.broken = true;  // removed meanwhile
  } catch (const Error& error) {
    log_warning("http: the stream of {} ends early: {}", job_, error.what());
    piece.broken = true;
  }
  return piece;
}

}  // namespace seamwright::coordinator::http
