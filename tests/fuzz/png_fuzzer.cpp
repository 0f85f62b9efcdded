// Any bytes as a PNG file; what is accepted must survive encoding and decoding.
#include "media/image.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace seamwright;
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  expect_clean_refusal([&] { media::png_texts(file); });
  return expect_clean_refusal([&] {
    const media::RgbImage image = media::decode_png(file, {.max_pixels = 1 << 16});
    const std::string again = media::encode_png(image.view());
    if (media::decode_png(std::as_bytes(std::span(again))).pixels != image.pixels) std::abort();
  });
}
