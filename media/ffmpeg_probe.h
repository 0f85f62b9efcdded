// What the ffmpeg on this machine can write, for `doctor` and for early refusals.
// Threads: safe anywhere; runs a child process and blocks for up to ten seconds.
#pragma once

#include <string>
#include <vector>

namespace seamwright::media {

struct FfmpegInfo {
  bool found = false;
  bool ffprobe_found = false;
  std::string version;                // first line of `ffmpeg -version`
  std::vector<std::string> encoders;  // names, sorted
  bool has_encoder(const std::string& name) const;
  bool can_write_mp4() const { return has_encoder("libx264"); }
  bool can_write_webm() const { return has_encoder("libvpx-vp9"); }
  bool can_write_gif() const { return has_encoder("gif"); }
};

// Never throws for a missing program: `found` is false then.
FfmpegInfo probe_ffmpeg(const std::string& ffmpeg = "ffmpeg",
                        const std::string& ffprobe = "ffprobe");

}  // namespace seamwright::media
