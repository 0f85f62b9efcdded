// The ffmpeg command lines for each output format, and its failures in plain words.
// Threads: pure functions; safe anywhere.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "media/child_process.h"
#include "media/video_writer.h"

namespace seamwright::media {

struct CodedSize {
  int width = 0;
  int height = 0;
};

// What the codec is given: even sides where its chroma planes have half the resolution.
CodedSize coded_size(VideoFormat format, const VideoOptions& options);

// Raw RGB frames on descriptor 0 and an ffmetadata file on descriptor 3, to the file `out`.
std::vector<std::string> encoder_arguments(const std::filesystem::path& out, VideoFormat format,
                                           const VideoOptions& options);

// A fragmented mp4 on descriptor 0 and an ffmetadata file on descriptor 3, copied to the file
// `out`.
std::vector<std::string> joiner_arguments(const std::filesystem::path& out,
                                          const VideoOptions& options);

bool says_disk_full(const std::string& error_text);

std::string encoder_error_message(const std::filesystem::path& path, VideoFormat format,
                                  std::int64_t frames, const ChildExit& exit,
                                  const std::string& error_text);

}  // namespace seamwright::media
