#include "worker/segmented_output.h"

#include "base/error.h"

namespace seamwright::worker {

SegmentedOutput::SegmentedOutput(DurableStore& store, Options options)
    : store_(store), options_(std::move(options)) {
  for (const auto& segment : store_.state().segments) {
    if (!segment.file.empty()) files_.push_back(segment.file);
  }
  next_segment_ = store_.state().first_missing_frame();
}

void SegmentedOutput::add(const Sha256Digest& latent, const media::RgbView& frame) {
  if (open_.latents.empty()) {
    open_.first_frame = next_segment_;
    if (!options_.out.empty()) {
      writer_.emplace(store_.segment_draft(next_segment_), options_.video, next_segment_);
    }
  }
  open_.latents.push_back(latent);
  if (writer_) writer_->write(frame);
  open_.end_frame = open_.first_frame + static_cast<std::int64_t>(open_.latents.size());
  if (open_.end_frame % options_.segment_frames == 0 || open_.end_frame == options_.frames) {
    commit();
  }
}

void SegmentedOutput::commit() {
  if (writer_) {
    open_.file = writer_->finish();
    writer_.reset();
  }
  if (options_.notes) open_.notes = options_.notes();
  const auto committed = store_.commit_segment(std::move(open_));
  open_ = {};
  if (!committed.file.empty()) files_.push_back(committed.file);
  next_segment_ = committed.end_frame;
  if (options_.committed) options_.committed(next_segment_);
}

std::filesystem::path SegmentedOutput::finish() {
  ensure(next_segment_ == options_.frames, "frames {} to {} were never written", next_segment_,
         options_.frames - 1);
  if (options_.out.empty() || !options_.join) return {};
  return media::join_segments(files_, options_.out, options_.video);
}

}  // namespace seamwright::worker
