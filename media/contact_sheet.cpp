#include "media/contact_sheet.h"

#include <algorithm>
#include <array>
#include <string>

#include "base/error.h"

namespace seamwright::media {
namespace {

constexpr int kGlyphWidth = 3;
constexpr int kGlyphHeight = 5;
constexpr int kGap = 2;

// Three bits a row, top row first.
std::array<int, kGlyphHeight> glyph(char c) {
  switch (c) {
    case '0':
      return {7, 5, 5, 5, 7};
    case '1':
      return {2, 6, 2, 2, 7};
    case '2':
      return {7, 1, 7, 4, 7};
    case '3':
      return {7, 1, 7, 1, 7};
    case '4':
      return {5, 5, 7, 1, 1};
    case '5':
      return {7, 4, 7, 1, 7};
    case '6':
      return {7, 4, 7, 5, 7};
    case '7':
      return {7, 1, 1, 2, 2};
    case '8':
      return {7, 5, 7, 5, 7};
    case '9':
      return {7, 5, 7, 1, 7};
    case '-':
      return {0, 0, 7, 0, 0};
    case '.':
      return {0, 0, 0, 0, 2};
    case ':':
      return {0, 2, 0, 2, 0};
    default:
      return {0, 0, 0, 0, 0};
  }
}

void fill(RgbImage& image, int x, int y, int width, int height, std::uint8_t grey) {
  for (int v = std::max(0, y); v < std::min(image.height, y + height); ++v) {
    for (int u = std::max(0, x); u < std::min(image.width, x + width); ++u) {
      std::fill_n(image.at(u, v), 3, grey);
    }
  }
}

void paste(RgbImage& into, int x, int y, const RgbImage& from) {
  for (int v = 0; v < from.height; ++v) {
    std::copy_n(from.at(0, v), static_cast<std::size_t>(from.width) * 3, into.at(x, y + v));
  }
}

RgbImage thumbnail_of(const RgbView& frame, int cell_width) {
  const int height = static_cast<int>(std::clamp<std::int64_t>(
      (static_cast<std::int64_t>(frame.height) * cell_width + frame.width / 2) / frame.width, 1,
      kMaxSide));
  return resize_box(frame, cell_width, height);
}

}  // namespace

void draw_label(RgbImage& image, int x, int y, std::string_view text, int scale) {
  const int advance = (kGlyphWidth + 1) * scale;
  fill(image, x, y, static_cast<int>(text.size()) * advance + scale, (kGlyphHeight + 2) * scale, 0);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::array<int, kGlyphHeight> rows = glyph(text[i]);
    for (int row = 0; row < kGlyphHeight; ++row) {
      for (int column = 0; column < kGlyphWidth; ++column) {
        const int bit = rows[static_cast<std::size_t>(row)] >> (kGlyphWidth - 1 - column);
        if ((bit & 1) == 0) continue;
        fill(image, x + scale + static_cast<int>(i) * advance + column * scale,
             y + scale + row * scale, scale, scale, 255);
      }
    }
  }
}

ContactSheet::ContactSheet(std::int64_t total_frames, const ContactSheetOptions& options)
    : total_(total_frames), options_(options) {
  require(total_frames >= 0, "a contact sheet of {} frames makes no sense", total_frames);
  require(options.columns > 0 && options.rows > 0 && options.columns * options.rows <= 10'000 &&
              options.cell_width > 0 && options.cell_width * options.columns <= kMaxSide,
          "a contact sheet of {}x{} cells, {} pixels wide each, does not fit", options.columns,
          options.rows, options.cell_width);
}

bool ContactSheet::wanted(std::int64_t index) const {
  if (total_ == 0) return index % stride_ == 0;
  const std::int64_t cells =
      std::min<std::int64_t>(total_, static_cast<std::int64_t>(options_.columns) * options_.rows);
  if (cells == 1) return index == 0;
  // Cell i shows frame round(i (total-1) / (cells-1)): the first and the last are always there.
  const std::int64_t i = (index * (cells - 1) + (total_ - 1) / 2) / (total_ - 1);
  return (2 * i * (total_ - 1) + (cells - 1)) / (2 * (cells - 1)) == index;
}

void ContactSheet::offer(std::int64_t index, const RgbView& frame) {
  check_view(frame);
  if (!wanted(index)) return;
  cells_.push_back({index, thumbnail_of(frame, options_.cell_width)});
  const auto capacity = static_cast<std::size_t>(options_.columns * options_.rows);
  if (cells_.size() > capacity) {  // only while the total is unknown: keep every second one
    stride_ *= 2;
    std::erase_if(cells_, [this](const Cell& cell) { return cell.index % stride_ != 0; });
  }
}

RgbImage ContactSheet::draw() const {
  require(!cells_.empty(), "a contact sheet needs at least one frame");
  const int count = static_cast<int>(cells_.size());
  const int columns = std::min(options_.columns, count);
  const int rows = (count + columns - 1) / columns;
  const int cell_height = cells_.front().thumbnail.height;
  RgbImage sheet(columns * (options_.cell_width + kGap) + kGap, rows * (cell_height + kGap) + kGap,
                 32);
  for (int i = 0; i < count; ++i) {
    const Cell& cell = cells_[static_cast<std::size_t>(i)];
    const int x = kGap + (i % columns) * (options_.cell_width + kGap);
    const int y = kGap + (i / columns) * (cell_height + kGap);
    paste(sheet, x, y, cell.thumbnail);
    draw_label(sheet, x, y, std::to_string(cell.index), options_.cell_width >= 96 ? 2 : 1);
  }
  return sheet;
}

RgbImage make_strip(std::span<const RgbImage> frames, std::int64_t first_index, int cell_width) {
  require(!frames.empty(), "a strip needs at least one frame");
  const auto count = static_cast<int>(frames.size());
  ContactSheet sheet(count, {.columns = count, .rows = 1, .cell_width = cell_width});
  for (int i = 0; i < count; ++i) {
    sheet.offer(i, frames[static_cast<std::size_t>(i)].view());
  }
  RgbImage strip = sheet.draw();
  for (int i = 0; i < count && first_index != 0; ++i) {
    draw_label(strip, kGap + i * (cell_width + kGap), kGap, std::to_string(first_index + i),
               cell_width >= 96 ? 2 : 1);
  }
  return strip;
}

}  // namespace seamwright::media
