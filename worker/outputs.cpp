#include "worker/outputs.h"

#include <algorithm>

#include "model/safetensors.h"
#include "worker/recovery.h"

namespace seamwright::worker {
namespace {

Sha256Digest latent_digest(const DecodedChunk& chunk, int frame) {
  Sha256Digest digest{};
  const auto at = static_cast<std::size_t>(frame) * digest.size();
  std::copy_n(chunk.digests.begin() + static_cast<std::ptrdiff_t>(at), digest.size(),
              digest.begin());
  return digest;
}

SeamMetrics seam_metrics_for(const Job& job) {
  std::vector<std::int64_t> starts, ends;
  if (job.schedule.is_static()) {
    for (int w = 0; w < job.schedule.window_count(0); ++w) {
      if (job.schedule.idle(0, w)) continue;  // known frames alone: nothing is made there
      const auto frames = job.schedule.window(0, w).frames;
      starts.push_back(frames.front());
      ends.push_back(frames.back() + 1);
    }
  }
  return {job.request.frames, std::move(starts), std::move(ends)};
}

}  // namespace

int encoder_threads_for(const GenerateOptions& options, std::string_view backend, int cores) {
  if (options.encoder_threads > 0) return options.encoder_threads;
  if (backend != "cuda") return media::kEncoderThreads;
  // The thread that runs tasks and the one that writes frames have work as well.
  const int own = options.threads > 0 ? std::min(options.threads, cores) : cores;
  return std::clamp(own - 2, media::kEncoderThreads, 16);
}

Outputs::Outputs(const GenerateOptions& options, const Job& job,
                 const media::MediaMetadata& metadata, int encoder_threads, DurableStore* store,
                 std::function<void(std::int64_t)> committed)
    : options_(options), job_(job), seams_(seam_metrics_for(job)) {
  media::VideoOptions video;
  video.width = job.request.width;
  video.height = job.request.height;
  video.fps = job.request.fps;
  video.threads = encoder_threads;
  video.metadata = metadata;
  if (store != nullptr) {
    open_segments(*store, video, std::move(committed));
  } else if (!options.out.empty()) {
    writer_.emplace(options.out, video);
  }
}

void Outputs::open_segments(DurableStore& store, const media::VideoOptions& video,
                            std::function<void(std::int64_t)> committed) {
  SegmentedOutput::Options segmented;
  segmented.out = options_.out;
  segmented.join = options_.join_segments;
  segmented.video = video;
  segmented.frames = job_.request.frames;
  segmented.segment_frames = segment_length(job_, options_.segment_frames);
  segmented.notes = [this] { return nlohmann::json{{"seams", seams_.state()}}; };
  segmented.committed = std::move(committed);
  for (const auto& segment : store.state().segments) {
    for (const auto& digest : segment.latents) digest_.update(std::as_bytes(std::span(digest)));
    frames_ = segment.end_frame;
  }
  if (frames_ > 0) seams_.restore(store.state().segments.back().notes.at("seams"));
  segments_.emplace(store, std::move(segmented));
}

// Decoded frames in order.
void Outputs::chunk(const DecodedChunk& chunk) {
  digest_.update(std::as_bytes(chunk.digests));
  latents_.insert(latents_.end(), chunk.latents.begin(), chunk.latents.end());
  const int width = job_.request.width, height = job_.request.height;
  const std::size_t size = static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3;
  for (int i = 0; i < chunk.count; ++i) {
    const auto pixels = chunk.pixels.subspan(static_cast<std::size_t>(i) * size, size);
    seams_.add(pixels);
    if (writer_) writer_->write({width, height, pixels});
    if (segments_) segments_->add(latent_digest(chunk, i), {width, height, pixels});
    ++frames_;
  }
}

std::filesystem::path Outputs::finish_video(bool complete) {
  if (writer_) return complete ? writer_->finish() : writer_->abandon();
  if (segments_ && complete) return segments_->finish();
  return {};
}

void Outputs::write_latents() const {
  if (!options_.latents_out) return;
  const auto& s = job_.latent;
  const auto count = static_cast<std::int64_t>(latents_.size() / s.size());
  const model::StoredTensor tensor{"latents",
                                   model::DType::kF32,
                                   {count, s.channels, s.height, s.width},
                                   std::as_bytes(std::span(latents_))};
  model::write_safetensors(*options_.latents_out, std::span(&tensor, 1));
}

std::string Outputs::latents_name(const std::filesystem::path& video) const {
  const auto folder = std::filesystem::absolute(media::sidecar_path(video)).parent_path();
  return std::filesystem::absolute(*options_.latents_out).lexically_relative(folder).string();
}

}  // namespace seamwright::worker
