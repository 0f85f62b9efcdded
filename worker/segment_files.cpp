#include "worker/segment_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>

#include "media/files.h"

namespace seamwright::worker {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kFormat = "seamwright-segment";
constexpr int kSegmentVersion = 1;
constexpr std::int64_t kCommitBytesMax = 64 << 20;

std::string base_name(std::int64_t first, std::int64_t end) {
  return fmt::format("{:08d}-{:08d}", first, end);
}

std::string file_sha256(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(ErrorCode::kIo, "cannot read {}", path.string());
  Sha256 hash;
  std::vector<char> buffer(std::size_t{1} << 20U);
  while (file) {
    file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    hash.update(std::string_view(buffer.data(), static_cast<std::size_t>(file.gcount())));
  }
  return to_hex(hash.finish());
}

Sha256Digest digest_from_hex(const std::string& hex) {
  Sha256Digest digest{};
  const auto nibble = [&](char c) -> unsigned {
    if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
    if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a') + 10;
    fail(ErrorCode::kCorrupt, "'{}' is not a SHA-256", hex);
  };
  if (hex.size() != 2 * digest.size()) fail(ErrorCode::kCorrupt, "'{}' is not a SHA-256", hex);
  for (std::size_t i = 0; i < digest.size(); ++i) {
    digest[i] = static_cast<unsigned char>(nibble(hex[2 * i]) << 4U | nibble(hex[2 * i + 1]));
  }
  return digest;
}

// Throws with the reason why it does not count.
Segment read_segment(const fs::path& commit, const Sha256Digest& fingerprint) {
  const auto json = Json::parse(media::read_file(commit, kCommitBytesMax), nullptr, false);
  if (!json.is_object() || json.value("format", "") != kFormat) {
    fail(ErrorCode::kCorrupt, "it is not the commit of a segment");
  }
  if (json.value("version", 0) != kSegmentVersion) {
    fail(ErrorCode::kCorrupt, "it has another version");
  }
  if (json.at("fingerprint") != to_hex(fingerprint)) {
    fail(ErrorCode::kCorrupt, "it belongs to another job");
  }
  Segment segment;
  segment.first_frame = json.at("first_frame").get<std::int64_t>();
  segment.end_frame = json.at("end_frame").get<std::int64_t>();
  for (const auto& hex : json.at("latents")) {
    segment.latents.push_back(digest_from_hex(hex.get<std::string>()));
  }
  if (static_cast<std::int64_t>(segment.latents.size()) !=
      segment.end_frame - segment.first_frame) {
    fail(ErrorCode::kCorrupt, "it does not name one latent for each frame");
  }
  segment.notes = json.at("notes");
  const auto name = json.at("file").get<std::string>();
  if (!name.empty()) {
    if (fs::path(name).filename() != name) fail(ErrorCode::kCorrupt, "'{}' is no file name", name);
    segment.file = commit.parent_path() / name;
    if (file_sha256(segment.file) != json.at("sha256").get<std::string>()) {
      fail(ErrorCode::kCorrupt, "the checksum of {} does not fit its content", name);
    }
  }
  return segment;
}

}  // namespace

std::vector<Segment> read_segments(const fs::path& folder, const Sha256Digest& fingerprint,
                                   const std::function<void(const std::string&)>& warn) {
  std::vector<Segment> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".json") continue;
    try {
      found.push_back(read_segment(entry.path(), fingerprint));
    } catch (const std::exception& error) {
      warn(fmt::format("{} is ignored: {}", entry.path().string(), error.what()));
    }
  }
  std::sort(found.begin(), found.end(),
            [](const Segment& a, const Segment& b) { return a.first_frame < b.first_frame; });
  std::vector<Segment> usable;
  for (auto& segment : found) {
    const auto expected = usable.empty() ? 0 : usable.back().end_frame;
    if (segment.first_frame != expected) {
      warn(fmt::format("the segments from frame {} on are ignored: frames {} to {} are missing",
                       segment.first_frame, expected, segment.first_frame - 1));
      break;
    }
    usable.push_back(std::move(segment));
  }
  return usable;
}

Segment write_segment(const fs::path& folder, const Sha256Digest& fingerprint, std::int64_t attempt,
                      Segment segment, const std::function<void()>& between) {
  const auto base = base_name(segment.first_frame, segment.end_frame);
  Json latents = Json::array();
  for (const auto& digest : segment.latents) latents.push_back(to_hex(digest));
  Json commit{{"format", kFormat},
              {"version", kSegmentVersion},
              {"fingerprint", to_hex(fingerprint)},
              {"attempt", attempt},
              {"first_frame", segment.first_frame},
              {"end_frame", segment.end_frame},
              {"file", ""},
              {"notes", segment.notes},
              {"latents", latents}};
  if (!segment.file.empty()) {
    const auto name = base + segment.file.extension().string();
    commit["file"] = name;
    commit["sha256"] = file_sha256(segment.file);
    media::sync_path(segment.file);
    media::publish(segment.file, folder / name);
    segment.file = folder / name;
  }
  if (between) between();
  media::write_file_atomically(folder / (base + ".json"), commit.dump(1) + "\n");
  return segment;
}

}  // namespace seamwright::worker
