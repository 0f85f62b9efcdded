// Two hundred damaged and hostile files: each is read or refused with a reason, in bounded time and
// memory of decoder and reader, and no child is left.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdlib>
#include <fstream>

#include "base/rng.h"
#include "media/files.h"
#include "media/video_reader.h"
#include "media/video_writer.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright::media {
namespace {

constexpr int kFiles = 200;
constexpr std::int64_t kDecoderBytes = 1LL << 30;
constexpr std::chrono::seconds kLongest{120};  // a decoder may use 20 s of CPU on a busy machine

std::string make_file(const TemporaryFolder& folder, const std::string& name) {
  VideoOptions options;
  options.width = 96;
  options.height = 64;
  if (name.ends_with(".png")) {
    write_png(folder / name.c_str(), numbered_frame(3, 96, 64).view());
    return name;
  }
  VideoWriter writer(folder / name.c_str(), options);
  for (int i = 0; i < 8; ++i) writer.write(numbered_frame(i, 96, 64).view());
  writer.finish();
  return name;
}

// Bytes changed, cut off, repeated or exchanged; drawn from the round's own numbers.
std::string damaged(std::string bytes, std::uint32_t round) {
  const NoiseKey key{.seed = 41, .purpose = NoisePurpose::kTest, .frame = round};
  auto draw = [&, at = 0U](std::size_t limit) mutable { return random_word(key, at++) % limit; };
  switch (draw(4)) {
    case 0:
      bytes.resize(draw(bytes.size()));
      break;
    case 1:
      bytes.insert(draw(bytes.size()), bytes.substr(draw(bytes.size()), 4096));
      break;
    case 2:  // a header's numbers become huge
      for (int i = 0; i < 4; ++i) bytes[draw(std::min<std::size_t>(bytes.size(), 200))] = '\xff';
      break;
    default:
      break;
  }
  for (int i = 0; i < 25 && !bytes.empty(); ++i) {
    bytes[draw(bytes.size())] = static_cast<char>(draw(256));
  }
  return bytes;
}

// Reads to the end; a refusal must say which file and must not be a fault of ours.
void read_or_refuse(const std::filesystem::path& path, int& read, int& refused) {
  ReaderOptions options;
  options.limits.max_memory_bytes = kDecoderBytes;
  options.limits.max_cpu_seconds = 20;
  options.limits.max_frames = 1000;
  const auto begin = std::chrono::steady_clock::now();
  try {
    VideoReader reader(path, options);
    RgbImage frame;
    while (reader.next(frame)) {
    }
    ++read;
  } catch (const Error& error) {
    EXPECT_NE(error.code(), ErrorCode::kInternal) << error.what();
    EXPECT_NE(std::string(error.what()).find(path.filename().string()), std::string::npos)
        << "a refusal that does not name the file: " << error.what();
    ++refused;
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kLongest) << path;
}

std::int64_t peak_bytes(int who) {
  rusage usage{};
  ::getrusage(who, &usage);
  return usage.ru_maxrss * 1024;
}

TEST(HostileMedia, TwoHundredMutatedFilesAreReadOrRefusedWithinBounds) {
  const char* kNames[] = {"a.mp4", "a.webm", "a.gif", "a.png"};
  TemporaryFolder folder;
  std::vector<std::string> good;
  for (const char* name : kNames)
    good.push_back(read_file(folder / make_file(folder, name).c_str(), 1 << 24));
  const auto before = peak_bytes(RUSAGE_SELF);
  int read = 0, refused = 0;
  for (std::uint32_t round = 0; round < kFiles; ++round) {
    const auto file =
        folder.path() / ("hostile-" + std::to_string(round) + "-" + kNames[round % 4]);
    write_file_atomically(file, damaged(good[round % 4], round));
    read_or_refuse(file, read, refused);
    std::filesystem::remove(file);
  }
  EXPECT_EQ(read + refused, kFiles);
  EXPECT_GT(refused, kFiles / 10);  // else the files are not damaged enough to tell anything
  EXPECT_LT(peak_bytes(RUSAGE_SELF) - before, 64LL << 20);
  EXPECT_LT(peak_bytes(RUSAGE_CHILDREN), kDecoderBytes + (64LL << 20));
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a decoder was left";
  RecordProperty("read", read);
  RecordProperty("refused", refused);
}

// A few kilobytes that would decode to gigabytes, in pictures and in number.
TEST(HostileMedia, DecompressionBombsAreRefused) {
  TemporaryFolder folder;
  const auto bomb = [&](const std::string& size, const char* name, const char* frames) {
    const std::string command = "ffmpeg -v error -f lavfi -i color=black:s=" + size +
                                ":r=25 -frames:v " + frames + " -y '" + (folder / name).string() +
                                "'";
    return std::system(command.c_str()) == 0;  // NOLINT(cert-env33-c): our own command
  };
  if (!bomb("8000x8000", "large.png", "1") || !bomb("64x64", "long.gif", "3000")) {
    GTEST_SKIP() << "ffmpeg cannot make the files";
  }
  const auto refusal = [&](const char* name) {
    int read = 0, refused = 0;
    read_or_refuse(folder / name, read, refused);
    return refused == 1;
  };
  EXPECT_LT(std::filesystem::file_size(folder / "large.png"), 1U << 20U);
  EXPECT_TRUE(refusal("large.png"));
  EXPECT_TRUE(refusal("long.gif"));
}

}  // namespace
}  // namespace seamwright::media
