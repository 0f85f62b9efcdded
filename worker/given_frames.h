// Frames a video starts from: pictures or a video, encoded once into a file of latents that every
// rank of a gang reads frame by frame, so that memory does not grow with their number.
// Threads: const after opening; read may be called from one thread at a time per object.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/request.h"
#include "comm/fabric.h"
#include "model/ops.h"
#include "model/video_model.h"

namespace seamwright::worker {

struct Job;

class GivenFrames {
 public:
  // Opens a file of [F, C, h, w] floats; `known` says for each frame whether it keeps its latent.
  GivenFrames(const std::filesystem::path& file, std::size_t frame_size, std::vector<bool> known,
              bool noised, std::string hash);
  ~GivenFrames();
  GivenFrames(const GivenFrames&) = delete;
  GivenFrames& operator=(const GivenFrames&) = delete;

  // The frame's latent is part of the result as it is.
  bool known(std::int64_t frame) const {
    return !noised_ && known_[static_cast<std::size_t>(frame)];
  }
  // The frame's latent is where denoising starts (video to video), or known.
  bool starts_from(std::int64_t frame) const { return noised_ || known(frame); }
  void read(std::int64_t frame, std::span<float> latent) const;  // [C, h, w]
  // SHA-256 over all given latents: two jobs with one request and one such hash are the same.
  const std::string& hash() const { return hash_; }

 private:
  int fd_ = -1;
  std::size_t frame_size_;
  std::vector<bool> known_;
  bool noised_;
  std::string hash_;
};

// Which frames are known; all false where none are. `overlap` frames are handed over by `extend`.
std::vector<bool> known_frames(const JobRequest& request);

// Reads the headers of every file the request starts from; throws as their readers do, before any
// model is loaded. Pure but for that.
void check_given_files(const JobRequest& request);

// Frames that the input video gives to a request which does not say how many it wants; 0 where
// there is no input video. Throws kInvalidArgument when its container does not say.
std::int64_t frames_of_input(const JobRequest& request);

// Every rank, once the model is loaded: rank 0 decodes and encodes, the others open its file.
// `folder` takes the file until everyone has opened it; nothing is left of it afterwards. Null
// where nothing is given. `fabric` may be null for a gang of one. On rank 0 `encoded` is called
// after each frame; if it throws kCancelled, every rank does, together.
std::shared_ptr<const GivenFrames> share_given_frames(const Job& job,
                                                      const model::VideoModel& model,
                                                      model::Exec exec,
                                                      const std::filesystem::path& folder,
                                                      comm::Fabric* fabric,
                                                      const std::function<void()>& encoded = {});

}  // namespace seamwright::worker
