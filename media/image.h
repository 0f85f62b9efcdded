// RGB pictures in memory, and PNG files with embedded text.
// Threads: values and pure functions; safe anywhere on different objects.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace seamwright::media {

// A borrowed picture: rows from top to bottom, 3 bytes a pixel, no padding.
struct RgbView {
  int width = 0;
  int height = 0;
  std::span<const std::uint8_t> pixels;  // [height, width, 3]
};

struct RgbImage {
  RgbImage() = default;
  RgbImage(int width, int height, std::uint8_t grey = 0);
  RgbView view() const { return {width, height, pixels}; }
  std::uint8_t* at(int x, int y) {
    return pixels.data() + (static_cast<std::size_t>(y) * static_cast<std::size_t>(width) +
                            static_cast<std::size_t>(x)) *
                               3;
  }
  const std::uint8_t* at(int x, int y) const { return const_cast<RgbImage*>(this)->at(x, y); }

  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> pixels;  // [height, width, 3]
};

inline constexpr int kMaxSide = 16384;

// What a file is allowed to ask for before anything is allocated for it.
struct ImageLimits {
  std::int64_t max_pixels = 64LL << 20;
  std::int64_t max_file_bytes = 256LL << 20;
};

// An iTXt entry: keyword (1..79 Latin-1 characters) and UTF-8 text.
struct PngText {
  std::string keyword;
  std::string text;
};

std::string encode_png(const RgbView& image, std::span<const PngText> texts = {});
RgbImage decode_png(std::span<const std::byte> file, const ImageLimits& limits = {});
std::vector<PngText> png_texts(std::span<const std::byte> file);

// Written under a temporary name, then renamed: a half picture never has the final name.
void write_png(const std::filesystem::path& path, const RgbView& image,
               std::span<const PngText> texts = {});
RgbImage read_png(const std::filesystem::path& path, const ImageLimits& limits = {});

// Throws kInvalidArgument unless sides and byte count fit together.
void check_view(const RgbView& image);

// Averages boxes of source pixels; for thumbnails (shrinks or keeps, nearest when it grows).
RgbImage resize_box(const RgbView& image, int width, int height);

}  // namespace seamwright::media
