// A folder that is gone when the test is over, and pictures that carry a number.
// Threads: one object per thread.
#pragma once

#include <stdlib.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>

#include "base/error.h"
#include "media/image.h"

namespace seamwright::media {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "seamwright-XXXXXX").string();
    ensure(::mkdtemp(name.data()) != nullptr, "no temporary folder");
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::filesystem::path operator/(const char* name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Twelve bits of `number` as a 4x3 board of dark and bright squares: survives any codec.
inline RgbImage numbered_frame(int number, int width, int height) {
  RgbImage image(width, height);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const int bit = (y * 3 / height) * 4 + x * 4 / width;
      const std::uint8_t grey = ((number >> bit) & 1) != 0 ? 220 : 30;
      std::fill_n(image.at(x, y), 3, grey);
    }
  }
  return image;
}

inline int number_in(const RgbImage& image) {
  int number = 0;
  for (int bit = 0; bit < 12; ++bit) {
    const int x = (2 * (bit % 4) + 1) * image.width / 8;
    const int y = (2 * (bit / 4) + 1) * image.height / 6;
    if (image.at(x, y)[1] > 125) number |= 1 << bit;
  }
  return number;
}

template <class Call>
ErrorCode code_of(Call&& call, std::string* message = nullptr) {
  try {
    call();
  } catch (const Error& error) {
    if (message != nullptr) *message = error.what();
    return error.code();
  }
  if (message != nullptr) *message = "nothing was thrown";
  return ErrorCode::kInternal;
}

}  // namespace seamwright::media
