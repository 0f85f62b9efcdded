#include "media/metadata.h"

#include "base/error.h"
#include "media/files.h"

namespace seamwright::media {
namespace {

constexpr std::int64_t kMaxSidecarBytes = 16LL << 20;

std::string xml_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out.push_back(c);
    }
  }
  return out;
}

std::string ffmetadata_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '=' || c == ';' || c == '#' || c == '\\' || c == '\n') out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

}  // namespace

nlohmann::json embedded_json(const MediaMetadata& metadata) {
  nlohmann::json out = {{"format", kSidecarFormat},
                        {"version", kSidecarVersion},
                        {"software", metadata.software},
                        {"request", metadata.request},
                        {"models", metadata.models}};
  if (metadata.mark_ai_generated) out["digital_source_type"] = kAiSourceType;
  return out;
}

std::string to_text(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string ffmpeg_metadata(const MediaMetadata& metadata) {
  std::string out = ";FFMETADATA1\n";
  out += "comment=" + ffmetadata_escaped(to_text(embedded_json(metadata))) + "\n";
  if (metadata.mark_ai_generated) {
    out += "digital_source_type=" + ffmetadata_escaped(kAiSourceType) + "\n";
  }
  return out;
}

std::string xmp_packet(const MediaMetadata& metadata) {
  if (!metadata.mark_ai_generated) return {};
  std::string out =
      "<?xpacket begin=\"\xEF\xBB\xBF\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>"
      "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\">"
      "<rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">"
      "<rdf:Description rdf:about=\"\""
      " xmlns:Iptc4xmpExt=\"http://iptc.org/std/Iptc4xmpExt/2008-02-29/\""
      " xmlns:xmp=\"http://ns.adobe.com/xap/1.0/\""
      " xmp:CreatorTool=\"";
  out += xml_escaped(metadata.software) + "\" Iptc4xmpExt:DigitalSourceType=\"";
  out += std::string(kAiSourceType) + "\"/></rdf:RDF></x:xmpmeta><?xpacket end=\"r\"?>";
  return out;
}

std::vector<PngText> png_metadata(const MediaMetadata& metadata) {
  std::vector<PngText> texts{{"Comment", to_text(embedded_json(metadata))}};
  if (metadata.mark_ai_generated) texts.push_back({"XML:com.adobe.xmp", xmp_packet(metadata)});
  return texts;
}

std::filesystem::path sidecar_path(const std::filesystem::path& video) {
  std::filesystem::path path =
      video.has_filename() ? video : video.parent_path();  // "folder/" names the folder
  path += ".json";
  return path;
}

std::filesystem::path write_sidecar(const std::filesystem::path& video,
                                    const MediaMetadata& metadata, const nlohmann::json& result) {
  nlohmann::json out = embedded_json(metadata);
  out["result"] = result;
  const std::filesystem::path path = sidecar_path(video);
  write_file_atomically(path,
                        out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  return path;
}

nlohmann::json read_sidecar(const std::filesystem::path& sidecar) {
  return parse_sidecar(read_file(sidecar, kMaxSidecarBytes), sidecar.string());
}

nlohmann::json parse_sidecar(std::string_view text, const std::string& where) {
  // Counting brackets first keeps hostile nesting away from the parser's recursion.
  int depth = 0;
  for (const char c : text) {
    if (c == '[' || c == '{') ++depth;
    if (c == ']' || c == '}') --depth;
    if (depth > 256) fail(ErrorCode::kCorrupt, "{}: JSON is nested too deeply", where);
  }
  const nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
  if (!value.is_object() || !value.contains("format") || value["format"] != kSidecarFormat) {
    fail(ErrorCode::kCorrupt,
         "{}: not a Seamwright sidecar (a JSON object with \"format\": \"{}\")", where,
         kSidecarFormat);
  }
  if (!value.contains("version") || value["version"] != kSidecarVersion) {
    fail(ErrorCode::kUnsupported, "{}: sidecar version {} is not known; this program reads {}",
         where, value.value("version", nlohmann::json()).dump(), kSidecarVersion);
  }
  if (!value.contains("request") || !value["request"].is_object()) {
    fail(ErrorCode::kCorrupt, "{}: the sidecar has no \"request\" object", where);
  }
  return value;
}

}  // namespace seamwright::media
