#include "media/image.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <cmath>
#include <limits>

#include "media/contact_sheet.h"
#include "media/files.h"
#include "media/pixels.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright::media {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

RgbImage gradient(int width, int height) {
  RgbImage image(width, height);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    image.pixels[i] = static_cast<std::uint8_t>(i * 7 % 251);
  }
  return image;
}

TEST(Png, RoundTripsPixelsAndTexts) {
  TemporaryFolder folder;
  const RgbImage image = gradient(33, 17);
  const std::vector<PngText> texts{{"Comment", "naïve {\"a\": 1}"}, {"Other", ""}};
  write_png(folder / "a.png", image.view(), texts);
  const RgbImage back = read_png(folder / "a.png");
  EXPECT_EQ(back.width, 33);
  EXPECT_EQ(back.height, 17);
  EXPECT_EQ(back.pixels, image.pixels);
  const std::string file = read_file(folder / "a.png", 1 << 20);
  const auto found = png_texts(bytes_of(file));
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].text, texts[0].text);
  EXPECT_EQ(found[1].keyword, "Other");
}

TEST(Png, RefusesEveryTruncation) {
  const std::string file = encode_png(gradient(9, 5).view());
  for (std::size_t size = 0; size + 12 < file.size(); ++size) {
    EXPECT_EQ(code_of([&] { decode_png(bytes_of(file.substr(0, size))); }), ErrorCode::kCorrupt)
        << size;
  }
}

TEST(Png, SurvivesFlippedBytes) {
  const std::string good = encode_png(gradient(16, 16).view());
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x5A);
    try {
      const RgbImage image = decode_png(bytes_of(bad));
      EXPECT_LE(image.pixels.size(), 3U * 64U << 20U);
    } catch (const Error& error) {
      EXPECT_NE(error.code(), ErrorCode::kInternal) << at;
    }
  }
}

// A header that asks for 16384 x 16384 pixels, with a valid checksum.
TEST(Png, RefusesAPictureOverTheLimitBeforeAllocating) {
  std::string file = encode_png(gradient(4, 4).view());
  file.replace(16, 8, std::string("\0\0\x40\0\0\0\x40\0", 8));
  const auto crc =
      static_cast<std::uint32_t>(::crc32(0, reinterpret_cast<const Bytef*>(file.data() + 12), 17));
  for (std::size_t i = 0; i < 4; ++i) file[29 + i] = static_cast<char>(crc >> (24 - 8 * i));
  std::string message;
  EXPECT_EQ(code_of([&] { decode_png(bytes_of(file)); }, &message), ErrorCode::kResource);
  EXPECT_NE(message.find("16384x16384"), std::string::npos) << message;
}

TEST(Png, NamesTheFileInErrors) {
  TemporaryFolder folder;
  write_file_atomically(folder / "bad.png", "hello");
  std::string message;
  EXPECT_EQ(code_of([&] { read_png(folder / "bad.png"); }, &message), ErrorCode::kCorrupt);
  EXPECT_NE(message.find("bad.png"), std::string::npos);
  EXPECT_EQ(code_of([&] { read_png(folder / "absent.png"); }), ErrorCode::kNotFound);
}

TEST(Pixels, BecomeWhatEncodersTake) {
  std::vector<std::uint8_t> all(256);
  for (std::size_t i = 0; i < 256; ++i) all[i] = static_cast<std::uint8_t>(i);
  std::vector<float> model(256);
  from_rgb8(all, model);
  EXPECT_FLOAT_EQ(model[0], -1.F);
  EXPECT_FLOAT_EQ(model[51], -0.6F);
  EXPECT_FLOAT_EQ(model[255], 1.F);
}

TEST(Resize, AveragesBoxes) {
  RgbImage image(2, 2);
  image.pixels = {0, 10, 20, 100, 110, 120, 200, 210, 220, 255, 255, 255};
  const RgbImage one = resize_box(image.view(), 1, 1);
  EXPECT_EQ(one.pixels, (std::vector<std::uint8_t>{139, 146, 154}));
  EXPECT_EQ(resize_box(image.view(), 2, 2).pixels, image.pixels);
  EXPECT_EQ(resize_box(image.view(), 4, 4).at(3, 3)[0], 255);
}

std::vector<int> shown_levels(const RgbImage& sheet, int cells, int cell_width) {
  std::vector<int> levels;
  for (int i = 0; i < cells; ++i) {
    levels.push_back(sheet.at(2 + i * (cell_width + 2) + cell_width / 2, sheet.height - 4)[0]);
  }
  return levels;
}

TEST(ContactSheet, ShowsFirstLastAndEvenlyBetween) {
  ContactSheet sheet(100, {.columns = 4, .rows = 1, .cell_width = 64});
  for (int i = 0; i < 100; ++i) {
    sheet.offer(i, RgbImage(64, 64, static_cast<std::uint8_t>(100 + i)).view());
  }
  const RgbImage picture = sheet.draw();
  EXPECT_EQ(picture.width, 4 * 66 + 2);
  EXPECT_EQ(shown_levels(picture, 4, 64), (std::vector<int>{100, 133, 166, 199}));
}

TEST(ContactSheet, EveryLengthFillsExactlyItsCells) {
  for (int total = 1; total < 60; ++total) {
    ContactSheet sheet(total, {.columns = 7, .rows = 2, .cell_width = 8});
    for (int i = 0; i < total; ++i) sheet.offer(i, RgbImage(8, 8, 99).view());
    const int cells = std::min(total, 14);
    const RgbImage picture = sheet.draw();
    EXPECT_EQ(picture.width, std::min(cells, 7) * 10 + 2) << total;
    EXPECT_EQ(picture.height, (cells + 6) / 7 * 10 + 2) << total;
  }
}

TEST(ContactSheet, ThinsOutWhenTheLengthIsUnknown) {
  ContactSheet sheet(0, {.columns = 8, .rows = 1, .cell_width = 16});
  for (int i = 0; i < 1000; ++i) sheet.offer(i, RgbImage(16, 16, 50).view());
  const int cells = (sheet.draw().width - 2) / 18;
  EXPECT_GE(cells, 4);
  EXPECT_LE(cells, 8);
}

TEST(ContactSheet, LabelsDifferByNumber) {
  std::vector<RgbImage> frames(10, RgbImage(128, 64, 80));
  const RgbImage strip = make_strip(frames, 40, 128);
  for (int a = 0; a < 10; ++a) {
    for (int b = 0; b < a; ++b) {
      bool differ = false;
      for (int y = 2; y < 16 && !differ; ++y) {
        for (int x = 0; x < 24 && !differ; ++x) {
          differ = *strip.at(2 + a * 130 + x, y) != *strip.at(2 + b * 130 + x, y);
        }
      }
      EXPECT_TRUE(differ) << a << " and " << b;
    }
  }
}

}  // namespace
}  // namespace seamwright::media
