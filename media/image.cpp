#include "media/image.h"

#include <png.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "base/error.h"
#include "media/files.h"

namespace seamwright::media {
namespace {

constexpr std::string_view kSignature("\x89PNG\r\n\x1a\n", 8);
constexpr std::size_t kHeaderBytes = 8 + 25;  // signature and IHDR chunk

void append_u32(std::string& out, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>((value >> static_cast<unsigned>(shift)) & 0xFFU));
  }
}

std::uint32_t read_u32(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    value = (value << 8U) | static_cast<unsigned char>(bytes[at + i]);
  }
  return value;
}

std::string text_chunk(const PngText& text) {
  require(!text.keyword.empty() && text.keyword.size() < 80,
          "a PNG text keyword has 1 to 79 characters, not {}", text.keyword.size());
  // keyword 0, not compressed, method 0, language "" 0, translated keyword "" 0, text
  std::string body = "iTXt" + text.keyword + std::string(5, '\0') + text.text;
  std::string chunk;
  append_u32(chunk, static_cast<std::uint32_t>(body.size() - 4));
  chunk += body;
  append_u32(chunk,
             static_cast<std::uint32_t>(::crc32(0, reinterpret_cast<const Bytef*>(body.data()),
                                                static_cast<uInt>(body.size()))));
  return chunk;
}

// Every chunk lies within the file. libpng takes memory for a chunk's announced length before it
// reads it: without this check a hundred bytes could ask for two gigabytes.
void check_chunks(std::string_view bytes) {
  if (bytes.substr(0, kSignature.size()) != kSignature) {
    fail(ErrorCode::kCorrupt, "not a readable PNG: {}",
         bytes.empty() ? "the file is empty" : "it does not begin as a PNG does");
  }
  for (std::size_t at = kSignature.size(); at < bytes.size();) {
    const std::size_t left = bytes.size() - at;
    const std::size_t length = left < 12 ? 0 : read_u32(bytes, at);
    if (left < 12 || length > left - 12) {
      fail(ErrorCode::kCorrupt, "damaged PNG: the chunk at byte {} ends outside the file", at);
    }
    if (bytes.substr(at + 4, 4) == "IEND") return;
    at += 12 + length;
  }
}

// libpng's simplified interface, freed on every way out.
struct PngReader {
  PngReader() { image.version = PNG_IMAGE_VERSION; }
  ~PngReader() { png_image_free(&image); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
  png_image image{};
};

}  // namespace

RgbImage::RgbImage(int w, int h, std::uint8_t grey) : width(w), height(h) {
  require(w > 0 && h > 0 && w <= kMaxSide && h <= kMaxSide,
          "a picture of {}x{} is outside 1x1 .. {}x{}", w, h, kMaxSide, kMaxSide);
  pixels.assign(static_cast<std::size_t>(w) * static_cast<std::size_t>(h) * 3, grey);
}

void check_view(const RgbView& image) {
  require(
      image.width > 0 && image.height > 0 && image.width <= kMaxSide && image.height <= kMaxSide,
      "a picture of {}x{} is outside 1x1 .. {}x{}", image.width, image.height, kMaxSide, kMaxSide);
  const std::size_t bytes =
      static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) * 3;
  require(image.pixels.size() == bytes, "a {}x{} RGB picture has {} bytes, not {}", image.width,
          image.height, bytes, image.pixels.size());
}

std::string encode_png(const RgbView& image, std::span<const PngText> texts) {
  check_view(image);
  png_image description{};
  description.version = PNG_IMAGE_VERSION;
  description.width = static_cast<png_uint_32>(image.width);
  description.height = static_cast<png_uint_32>(image.height);
  description.format = PNG_FORMAT_RGB;
  description.flags = PNG_IMAGE_FLAG_FAST;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(description);
  std::string bytes(size, '\0');
  if (png_image_write_to_memory(&description, bytes.data(), &size, 0, image.pixels.data(), 0,
                                nullptr) == 0) {
    fail(ErrorCode::kInternal, "cannot encode a {}x{} PNG: {}", image.width, image.height,
         static_cast<const char*>(description.message));
  }
  bytes.resize(size);
  std::string chunks;
  for (const PngText& text : texts) chunks += text_chunk(text);
  bytes.insert(kHeaderBytes, chunks);
  return bytes;
}

RgbImage decode_png(std::span<const std::byte> file, const ImageLimits& limits) {
  check_chunks({reinterpret_cast<const char*>(file.data()), file.size()});
  PngReader reader;
  png_image& image = reader.image;
  if (png_image_begin_read_from_memory(&image, file.data(), file.size()) == 0) {
    fail(ErrorCode::kCorrupt, "not a readable PNG: {}", static_cast<const char*>(image.message));
  }
  const std::int64_t pixels =
      static_cast<std::int64_t>(image.width) * static_cast<std::int64_t>(image.height);
  if (image.width > kMaxSide || image.height > kMaxSide || pixels > limits.max_pixels) {
    fail(ErrorCode::kResource,
         "a PNG of {}x{} pixels is too large: at most {} pixels and {} a side", image.width,
         image.height, limits.max_pixels, kMaxSide);
  }
  image.format = PNG_FORMAT_RGB;
  image.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;
  RgbImage out(static_cast<int>(image.width), static_cast<int>(image.height));
  const png_color white{255, 255, 255};  // what transparent pixels show
  if (png_image_finish_read(&image, &white, out.pixels.data(), 0, nullptr) == 0) {
    fail(ErrorCode::kCorrupt, "damaged PNG: {}", static_cast<const char*>(image.message));
  }
  return out;
}

std::vector<PngText> png_texts(std::span<const std::byte> file) {
  const std::string_view bytes(reinterpret_cast<const char*>(file.data()), file.size());
  if (bytes.substr(0, kSignature.size()) != kSignature) {
    fail(ErrorCode::kCorrupt, "not a PNG file");
  }
  std::vector<PngText> texts;
  std::size_t at = kSignature.size();
  while (at + 12 <= bytes.size()) {
    const std::size_t length = read_u32(bytes, at);
    if (length > bytes.size() - at - 12) break;
    const std::string_view body = bytes.substr(at + 8, length);
    const std::size_t keyword_end = body.find('\0');
    if (bytes.substr(at + 4, 4) == "iTXt" && keyword_end != std::string_view::npos &&
        keyword_end + 5 <= body.size() && body[keyword_end + 1] == '\0') {
      const std::size_t language_end = body.find('\0', keyword_end + 3);
      const std::size_t translated_end =
          language_end == std::string_view::npos ? language_end : body.find('\0', language_end + 1);
      if (translated_end != std::string_view::npos) {
        texts.push_back({std::string(body.substr(0, keyword_end)),
                         std::string(body.substr(translated_end + 1))});
      }
    }
    at += 12 + length;
  }
  return texts;
}

void write_png(const std::filesystem::path& path, const RgbView& image,
               std::span<const PngText> texts) {
  write_file_atomically(path, encode_png(image, texts));
}

RgbImage read_png(const std::filesystem::path& path, const ImageLimits& limits) {
  const std::string bytes = read_file(path, limits.max_file_bytes);
  try {
    return decode_png(std::as_bytes(std::span(bytes)), limits);
  } catch (const Error& error) {
    throw Error(error.code(), path.string() + ": " + error.what(), error.where());
  }
}

RgbImage resize_box(const RgbView& image, int width, int height) {
  check_view(image);
  RgbImage out(width, height);
  for (int y = 0; y < height; ++y) {
    const int y0 = static_cast<int>(static_cast<std::int64_t>(y) * image.height / height);
    const int y1 = std::max(
        y0 + 1, static_cast<int>(static_cast<std::int64_t>(y + 1) * image.height / height));
    for (int x = 0; x < width; ++x) {
      const int x0 = static_cast<int>(static_cast<std::int64_t>(x) * image.width / width);
      const int x1 = std::max(
          x0 + 1, static_cast<int>(static_cast<std::int64_t>(x + 1) * image.width / width));
      std::array<std::int64_t, 3> sum{};
      for (int v = y0; v < y1; ++v) {
        for (int u = x0; u < x1; ++u) {
          const std::size_t at =
              (static_cast<std::size_t>(v) * static_cast<std::size_t>(image.width) +
               static_cast<std::size_t>(u)) *
              3;
          for (std::size_t c = 0; c < 3; ++c) sum[c] += image.pixels[at + c];
        }
      }
      const std::int64_t count = static_cast<std::int64_t>(y1 - y0) * (x1 - x0);
      for (std::size_t c = 0; c < 3; ++c) {
        out.at(x, y)[c] = static_cast<std::uint8_t>((sum[c] + count / 2) / count);
      }
    }
  }
  return out;
}

}  // namespace seamwright::media
