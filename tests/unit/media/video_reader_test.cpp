#include "media/video_reader.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include "base/rng.h"
#include "media/ffmpeg_probe.h"
#include "media/files.h"
#include "media/video_writer.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright::media {
namespace {

std::filesystem::path make_video(const TemporaryFolder& folder, const char* name, int count = 20) {
  VideoOptions options;
  options.width = 96;
  options.height = 64;
  VideoWriter writer(folder / name, options);
  for (int i = 0; i < count; ++i) writer.write(numbered_frame(i, 96, 64).view());
  return writer.finish();
}

// Reads all; any clean refusal is fine, anything else fails the test.
void expect_refused_or_read(const std::filesystem::path& path) {
  try {
    VideoReader reader(path);
    RgbImage frame;
    while (reader.next(frame)) {
    }
  } catch (const Error& error) {
    EXPECT_NE(error.code(), ErrorCode::kInternal) << path << ": " << error.what();
  }
}

TEST(VideoReader, ScalesToTheSizeAskedFor) {
  TemporaryFolder folder;
  ReaderOptions options;
  options.width = 48;
  options.height = 32;
  VideoReader reader(make_video(folder, "a.mp4"), options);
  EXPECT_EQ(reader.info().width, 96);
  RgbImage frame;
  ASSERT_TRUE(reader.next(frame));
  EXPECT_EQ(frame.width, 48);
  int last = -1;
  do {
    last = number_in(frame);
  } while (reader.next(frame));
  EXPECT_EQ(last, 19);
}

std::vector<int> numbers_of(const std::filesystem::path& path, const ReaderOptions& options) {
  VideoReader reader(path, options);
  std::vector<int> numbers;
  RgbImage frame;
  while (reader.next(frame)) numbers.push_back(number_in(frame));
  EXPECT_EQ(chosen_frames(reader.info(), options), std::ssize(numbers));
  return numbers;
}

TEST(VideoReader, TakesTheFramesThatWereChosen) {
  TemporaryFolder folder;
  const auto video = make_video(folder, "a.mp4", 12);
  ReaderOptions options;
  options.skip = 3;
  EXPECT_EQ(numbers_of(video, options), (std::vector{3, 4, 5, 6, 7, 8, 9, 10, 11}));
  options.step = 4;
  EXPECT_EQ(numbers_of(video, options), (std::vector{3, 7, 11}));
  options.skip = 0;
  options.step = 5;
  EXPECT_EQ(numbers_of(video, options), (std::vector{0, 5, 10}));
  options.skip = 12;
  EXPECT_EQ(chosen_frames(VideoReader(video).info(), options), 0);
}

TEST(VideoReader, BringsAVideoToASteadyRate) {
  TemporaryFolder folder;
  const auto video = make_video(folder, "a.mp4", 16);
  const double fps = VideoReader(video).info().fps;
  ReaderOptions options;
  options.fps = 2 * fps;
  auto numbers = numbers_of(video, options);  // every frame twice
  ASSERT_EQ(numbers.size(), 32U);
  for (std::size_t i = 0; i < numbers.size(); ++i) EXPECT_EQ(numbers[i], static_cast<int>(i / 2));
  options.skip = 2;
  options.step = 3;  // counted at the new rate
  numbers = numbers_of(video, options);
  EXPECT_EQ(numbers, (std::vector{1, 2, 4, 5, 7, 8, 10, 11, 13, 14}));
  options = {};
  options.fps = fps / 2;
  numbers = numbers_of(video, options);
  ASSERT_EQ(numbers.size(), 8U);
  for (std::size_t i = 1; i < numbers.size(); ++i) EXPECT_EQ(numbers[i] - numbers[i - 1], 2);
}

TEST(VideoReader, ReadsASinglePicture) {
  TemporaryFolder folder;
  write_png(folder / "one.png", numbered_frame(1234, 90, 60).view());
  VideoReader reader(folder / "one.png");
  RgbImage frame;
  ASSERT_TRUE(reader.next(frame));
  EXPECT_EQ(frame.pixels, numbered_frame(1234, 90, 60).pixels);
  EXPECT_FALSE(reader.next(frame));
}

TEST(VideoReader, RefusesWhatIsNoVideo) {
  TemporaryFolder folder;
  write_file_atomically(folder / "empty.mp4", "");
  write_file_atomically(folder / "text.mp4", std::string(5000, 'a'));
  EXPECT_EQ(code_of([&] { VideoReader(folder / "empty.mp4"); }), ErrorCode::kCorrupt);
  EXPECT_EQ(code_of([&] { VideoReader(folder / "text.mp4"); }), ErrorCode::kCorrupt);
  EXPECT_EQ(code_of([&] { VideoReader(folder / "absent.mp4"); }), ErrorCode::kNotFound);
  EXPECT_EQ(code_of([&] { VideoReader(folder.path()); }), ErrorCode::kInvalidArgument);
}

// Playlists and scripts would make ffmpeg open other files or addresses.
TEST(VideoReader, RefusesFilesThatPointElsewhere) {
  TemporaryFolder folder;
  const std::string target = make_video(folder, "target.mp4").string();
  write_file_atomically(folder / "list.ffconcat", "ffconcat version 1.0\nfile '" + target + "'\n");
  write_file_atomically(folder / "list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n" +
                                                  target + "\n#EXT-X-ENDLIST\n");
  EXPECT_EQ(code_of([&] { VideoReader(folder / "list.ffconcat"); }), ErrorCode::kCorrupt);
  EXPECT_EQ(code_of([&] { VideoReader(folder / "list.m3u8"); }), ErrorCode::kCorrupt);
}

TEST(VideoReader, EnforcesPixelAndFrameLimits) {
  TemporaryFolder folder;
  const auto path = make_video(folder, "a.mp4");
  ReaderOptions options;
  options.limits.max_pixels = 96 * 64 - 1;
  EXPECT_EQ(code_of([&] { VideoReader(path, options); }), ErrorCode::kResource);
  options.limits = {};
  options.limits.max_duration_s = 1;
  EXPECT_EQ(code_of([&] { VideoReader(path, options); }), ErrorCode::kResource);
  options.limits = {};
  options.limits.max_frames = 19;
  EXPECT_EQ(code_of([&] { VideoReader(path, options); }), ErrorCode::kResource);
}

// A GIF need not say how long it is: the count must be enforced while reading.
TEST(VideoReader, StopsAFileThatIsLongerThanItSays) {
  TemporaryFolder folder;
  const auto path = make_video(folder, "a.gif");
  ReaderOptions options;
  options.limits.max_frames = 5;
  EXPECT_EQ(code_of([&] {
              VideoReader reader(path, options);
              RgbImage frame;
              while (reader.next(frame)) {
              }
            }),
            ErrorCode::kResource);
}

TEST(VideoReader, ReportsATruncatedVideo) {
  TemporaryFolder folder;
  const std::string bytes = read_file(make_video(folder, "a.mp4", 60), 1 << 24);
  write_file_atomically(folder / "cut.mp4", bytes.substr(0, bytes.size() * 6 / 10));
  EXPECT_EQ(code_of([&] {
              VideoReader reader(folder / "cut.mp4");
              RgbImage frame;
              while (reader.next(frame)) {
              }
            }),
            ErrorCode::kCorrupt);
}

TEST(VideoReader, SurvivesMutatedFiles) {
  TemporaryFolder folder;
  const char* kNames[] = {"a.mp4", "a.webm", "a.gif"};
  for (std::uint32_t round = 0; round < 18; ++round) {
    const char* name = kNames[round % 3];
    std::string bytes = read_file(make_video(folder, name, 6), 1 << 24);
    const NoiseKey key{.seed = 7, .purpose = NoisePurpose::kTest, .frame = round};
    for (std::uint32_t i = 0; i < 30; ++i) {
      bytes[random_word(key, 2 * i) % bytes.size()] =
          static_cast<char>(random_word(key, 2 * i + 1));
    }
    write_file_atomically(folder / name, bytes);
    expect_refused_or_read(folder / name);
  }
}

TEST(VideoReader, DroppedHalfwayLeavesNoChild) {
  TemporaryFolder folder;
  const auto path = make_video(folder, "a.mp4", 100);
  for (int i = 0; i < 3; ++i) {
    VideoReader reader(path);
    RgbImage frame;
    ASSERT_TRUE(reader.next(frame));
  }
  // Every child was reaped: this process has none left.
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
}

TEST(FfmpegProbe, FindsTheEncodersWeUse) {
  const FfmpegInfo info = probe_ffmpeg();
  ASSERT_TRUE(info.found);
  EXPECT_TRUE(info.ffprobe_found);
  EXPECT_TRUE(info.can_write_mp4());
  EXPECT_TRUE(info.can_write_webm());
  EXPECT_TRUE(info.can_write_gif());
  EXPECT_FALSE(info.has_encoder("no-such-codec"));
  EXPECT_NE(info.version.find("ffmpeg version"), std::string::npos);
  EXPECT_FALSE(probe_ffmpeg("no-such-ffmpeg").found);
}

}  // namespace
}  // namespace seamwright::media
