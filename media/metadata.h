// What a finished file says about itself: how it was made, and that a model made it. The same JSON
// is embedded in the file and, with the results, written beside it (docs/formats/sidecar.md).
// Threads: values and pure functions; safe anywhere on different paths.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "media/image.h"

namespace seamwright::media {

// IPTC's term for "made by a trained model"; readers look for it in XMP.
inline constexpr std::string_view kAiSourceType =
    "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia";

inline constexpr std::string_view kSidecarFormat = "seamwright-sidecar";
inline constexpr int kSidecarVersion = 1;

struct MediaMetadata {
  std::string software = "seamwright";                // name and version
  nlohmann::json request = nlohmann::json::object();  // every setting needed to make it again
  nlohmann::json models = nlohmann::json::array();    // [{"name", "sha256"}, ...]
  bool mark_ai_generated = true;
};

// One JSON object: format, version, software, digital_source_type (if marked), request, models.
nlohmann::json embedded_json(const MediaMetadata& metadata);

// Compact text of a JSON value; invalid UTF-8 is replaced, never thrown about.
std::string to_text(const nlohmann::json& value);

// ffmpeg's metadata file: the JSON as `comment`, and the source type where the container keeps it.
std::string ffmpeg_metadata(const MediaMetadata& metadata);

// An XMP packet with Iptc4xmpExt:DigitalSourceType; empty when not marked.
std::string xmp_packet(const MediaMetadata& metadata);

// iTXt entries: "Comment" (the JSON) and, when marked, "XML:com.adobe.xmp".
std::vector<PngText> png_metadata(const MediaMetadata& metadata);

// Appends a top-level `uuid` box with the XMP packet to an mp4 file. kIo on failure.
void append_mp4_xmp(const std::filesystem::path& file, std::string_view xmp);

// Inserts a comment extension and, if not empty, an XMP application extension before the trailer
// of a GIF file. kIo when the file cannot be changed, kCorrupt when it is not a whole GIF.
void append_gif_metadata(const std::filesystem::path& file, std::string_view comment,
                         std::string_view xmp);

// FILE.json beside FILE (for a folder: FOLDER.json beside FOLDER).
std::filesystem::path sidecar_path(const std::filesystem::path& video);

// embedded_json plus "result"; written atomically. Returns the path.
std::filesystem::path write_sidecar(const std::filesystem::path& video,
                                    const MediaMetadata& metadata, const nlohmann::json& result);

// Reads and checks a sidecar (at most 16 MiB): an object of our format with an object `request`.
nlohmann::json read_sidecar(const std::filesystem::path& sidecar);

// The same check on text found elsewhere (an embedded comment); `where` names it in errors.
nlohmann::json parse_sidecar(std::string_view text, const std::string& where);

}  // namespace seamwright::media
