#include "media/ffmpeg_probe.h"

#include <algorithm>
#include <sstream>

#include "base/error.h"
#include "media/child_process.h"

namespace seamwright::media {
namespace {

constexpr std::chrono::milliseconds kLimit{10'000};

// Lines such as " V....D libx264   libx264 H.264 / AVC", after a legend that ends in " ------".
std::vector<std::string> parse_encoders(const std::string& listing) {
  std::vector<std::string> names;
  std::istringstream lines(listing);
  bool in_table = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.find("------") != std::string::npos) {
      in_table = true;
      continue;
    }
    std::istringstream words(line);
    std::string flags;
    std::string name;
    if (in_table && words >> flags >> name && flags.front() == 'V') names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool runs(const std::string& program, std::string& output, std::vector<std::string> args) {
  args.insert(args.begin(), program);
  ChildSpec spec;
  spec.argv = std::move(args);
  try {
    const ChildResult result = run_child(spec, kLimit);
    output = result.output;
    return result.exit.ok();
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

bool FfmpegInfo::has_encoder(const std::string& name) const {
  return std::binary_search(encoders.begin(), encoders.end(), name);
}

FfmpegInfo probe_ffmpeg(const std::string& ffmpeg, const std::string& ffprobe) {
  FfmpegInfo info;
  std::string text;
  info.found = runs(ffmpeg, text, {"-version"});
  info.version = text.substr(0, text.find('\n'));
  if (info.found && runs(ffmpeg, text, {"-hide_banner", "-encoders"})) {
    info.encoders = parse_encoders(text);
  }
  info.ffprobe_found = runs(ffprobe, text, {"-version"});
  return info;
}

}  // namespace seamwright::media
