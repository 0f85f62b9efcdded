// Metadata that ffmpeg's muxers cannot write: XMP in mp4, comments and XMP in GIF.
#include <array>
#include <cstdint>
#include <fstream>

#include "base/error.h"
#include "media/metadata.h"

namespace seamwright::media {
namespace {

// The box type that XMP's specification (part 3) assigns for ISO base media files.
constexpr std::array<unsigned char, 16> kXmpUuid{0xBE, 0x7A, 0xCF, 0xCB, 0x97, 0xA9, 0x42, 0xE8,
                                                 0x9C, 0x71, 0x99, 0x94, 0x91, 0xE3, 0xAF, 0xAC};

void check_written(const std::ios& file, const std::filesystem::path& path) {
  if (!file)
    fail(ErrorCode::kIo, "cannot write metadata into {}: is the disk full?", path.string());
}

std::string gif_sub_blocks(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, 255);
    out.push_back(static_cast<char>(part.size()));
    out += part;
    text.remove_prefix(part.size());
  }
  out.push_back('\0');
  return out;
}

// XMP in GIF is not cut into sub-blocks: a descending "magic trailer" lets a reader that thinks it
// is find the end from any byte of the packet.
std::string gif_xmp(std::string_view xmp) {
  std::string out("\x21\xFF\x0BXMP DataXMP", 14);
  out += xmp;
  out.push_back('\x01');
  for (int value = 255; value >= 0; --value) out.push_back(static_cast<char>(value));
  out.push_back('\0');
  return out;
}

}  // namespace

void append_mp4_xmp(const std::filesystem::path& path, std::string_view xmp) {
  const auto size = static_cast<std::uint32_t>(8 + kXmpUuid.size() + xmp.size());
  std::string box;
  for (int shift = 24; shift >= 0; shift -= 8) box.push_back(static_cast<char>(size >> shift));
  box += "uuid";
  box.append(reinterpret_cast<const char*>(kXmpUuid.data()), kXmpUuid.size());
  box += xmp;
  std::ofstream file(path, std::ios::binary | std::ios::app);
  file.write(box.data(), static_cast<std::streamsize>(box.size()));
  file.close();
  check_written(file, path);
}

void append_gif_metadata(const std::filesystem::path& path, std::string_view comment,
                         std::string_view xmp) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(-1, std::ios::end);
  if (file.get() != 0x3B) fail(ErrorCode::kCorrupt, "{} does not end like a GIF", path.string());
  std::string tail("\x21\xFE", 2);
  tail += gif_sub_blocks(comment);
  if (!xmp.empty()) tail += gif_xmp(xmp);
  tail.push_back('\x3B');
  file.seekp(-1, std::ios::end);
  file.write(tail.data(), static_cast<std::streamsize>(tail.size()));
  file.close();
  check_written(file, path);
}

}  // namespace seamwright::media
