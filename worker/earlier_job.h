// A job that was made before, as what another one starts from: its sidecar names the video and,
// where they were kept, its final latents.
// Threads: values; one thread per KeptLatents.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>

#include "base/request.h"
#include "media/video_reader.h"
#include "model/safetensors.h"

namespace seamwright::worker {

// Whether an input names a sidecar (FILE.json) and not a video.
bool is_sidecar(const std::string& file);

struct EarlierJob {
  std::filesystem::path sidecar;
  std::filesystem::path video;    // the file beside the sidecar; empty when it is not there
  std::filesystem::path latents;  // likewise
  std::string latents_sha256, model_sha256;
  std::int64_t frames = 0;
  double fps = 0;
  int width = 0, height = 0;
};

// Throws kNotFound, kCorrupt, or kInvalidArgument where nothing of the job is left to start from.
EarlierJob read_earlier_job(const std::filesystem::path& sidecar);

// What an input says of itself, be it a video or a sidecar.
media::VideoInfo info_of_input(const std::string& file);

// The video that an input is or names. Throws kInvalidArgument where a sidecar's is gone.
std::filesystem::path video_of_input(const std::string& file);

// Final latents of an earlier job, checked against the hash in its sidecar.
class KeptLatents {
 public:
  KeptLatents(const EarlierJob& job, std::size_t frame_size);
  std::int64_t frames() const { return frames_; }
  std::span<const float> frame(std::int64_t index) const;

 private:
  model::SafetensorsFile file_;
  std::size_t frame_size_;
  std::int64_t frames_ = 0;
  const float* values_ = nullptr;
};

// The latents of an input that is a sidecar, where they are those that this model at this size
// would have encoded the picture's original from: same model, same size, frames as they are. Null
// for a video, and for a sidecar whose video has to be encoded.
std::optional<KeptLatents> kept_latents(const std::string& file, const JobRequest& request,
                                        const std::string& model_sha256, std::size_t frame_size);

}  // namespace seamwright::worker
