// Segments: a playable growing stream, and one file, with every frame once and time that goes on.
#include "media/segment_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "media/child_process.h"
#include "media/files.h"
#include "media/mp4_boxes.h"
#include "media/video_reader.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright::media {
namespace {

namespace fs = std::filesystem;

VideoOptions options_at(double fps) {
  VideoOptions options;
  options.width = 64;
  options.height = 48;
  options.fps = fps;
  options.metadata.request["prompt"] = "a test";
  return options;
}

fs::path write_segment(const fs::path& path, int first, int end, double fps) {
  SegmentWriter writer(path, options_at(fps), first);
  for (int f = first; f < end; ++f) writer.write(numbered_frame(f, 64, 48).view());
  return writer.finish();
}

std::vector<int> numbers_in(const fs::path& path) {
  std::vector<int> numbers;
  VideoReader reader(path);
  for (RgbImage frame; reader.next(frame);) numbers.push_back(number_in(frame));
  return numbers;
}

std::vector<int> up_to(int end) {
  std::vector<int> numbers(static_cast<std::size_t>(end));
  for (int i = 0; i < end; ++i) numbers[static_cast<std::size_t>(i)] = i;
  return numbers;
}

// Presentation times of all frames, in seconds.
std::vector<double> times_in(const fs::path& path) {
  ChildSpec spec;
  spec.argv = {"ffprobe",         "-v",  "error",   "-show_entries",
               "packet=pts_time", "-of", "csv=p=0", path.string()};
  spec.pipe_output = true;
  const auto result = run_child(spec, std::chrono::milliseconds(60'000));
  EXPECT_EQ(result.errors, "");
  std::vector<double> times;
  std::istringstream lines(result.output);
  for (std::string line; std::getline(lines, line);) times.push_back(std::stod(line));
  return times;
}

class Segments : public ::testing::TestWithParam<double> {};

TEST_P(Segments, GrowAndJoinWithEveryFrameOnceAndContinuousTime) {
  TemporaryFolder folder;
  const double fps = GetParam();
  const std::vector<fs::path> files = {write_segment(folder / "a.mp4", 0, 48, fps),
                                       write_segment(folder / "b.mp4", 48, 96, fps),
                                       write_segment(folder / "c.mp4", 96, 97, fps)};
  // As a live stream sends it.
  std::string stream;
  for (const auto& file : files) {
    const auto bytes = read_file(file, 10 << 20);
    stream += stream.empty() ? bytes : media_part(bytes);
  }
  std::ofstream(folder / "live.mp4", std::ios::binary) << stream;
  const auto joined = join_segments(files, folder / "joined.mp4", options_at(fps));
  EXPECT_FALSE(fs::exists(folder / "joined.partial.mp4"));
  for (const auto& path : {folder / "live.mp4", joined}) {
    EXPECT_EQ(numbers_in(path), up_to(97)) << path;
    const auto times = times_in(path);
    ASSERT_EQ(times.size(), 97U) << path;
    for (std::size_t i = 0; i < times.size(); ++i) {
      // ffprobe prints microseconds.
      EXPECT_NEAR(times[i], static_cast<double>(i) / fps, 2e-6 + 1e-5 * times[i]) << path;
    }
  }
  const auto text = read_file(joined, 10 << 20);
  EXPECT_NE(text.find(kAiSourceType), std::string::npos);
  EXPECT_NE(text.find("a test"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Rates, Segments, ::testing::Values(8.0, 25.0, 29.97, 7.3));

TEST(SegmentWriter, MakesTheSameSegmentAgain) {
  TemporaryFolder folder;
  const auto once = read_file(write_segment(folder / "a.mp4", 48, 90, 8), 10 << 20);
  EXPECT_EQ(read_file(write_segment(folder / "b.mp4", 48, 90, 8), 10 << 20), once);
}

TEST(SegmentWriter, SplitsWhatDescribesFromWhatContinues) {
  TemporaryFolder folder;
  const auto bytes = read_file(write_segment(folder / "a.mp4", 0, 5, 8), 10 << 20);
  const auto part = media_part(bytes);
  EXPECT_EQ(mp4_boxes(part).front().type, "moof");
  EXPECT_EQ(bytes.substr(init_size(bytes), part.size()), part);
}

TEST(SegmentWriter, RefusesToJoinWhatWasEncodedOtherwise) {
  TemporaryFolder folder;
  const auto a = write_segment(folder / "a.mp4", 0, 5, 8);
  const auto b = write_segment(folder / "b.mp4", 5, 9, 25);
  const std::vector<fs::path> files = {a, b};
  EXPECT_EQ(code_of([&] { join_segments(files, folder / "v.mp4", options_at(8)); }),
            ErrorCode::kCorrupt);
  EXPECT_FALSE(fs::exists(folder / "v.mp4"));
}

TEST(SegmentWriter, StopsJoiningWhenToldTo) {
  TemporaryFolder folder;
  const std::vector<fs::path> files = {write_segment(folder / "a.mp4", 0, 5, 8)};
  std::atomic<bool> stop{true};
  EXPECT_EQ(code_of([&] { join_segments(files, folder / "v.mp4", options_at(8), &stop); }),
            ErrorCode::kCancelled);
  EXPECT_FALSE(fs::exists(folder / "v.mp4"));
  EXPECT_FALSE(fs::exists(folder / "v.partial.mp4"));
  stop = false;
  join_segments(files, folder / "v.mp4", options_at(8), &stop);
  EXPECT_TRUE(fs::exists(folder / "v.mp4"));
}

TEST(Mp4Boxes, RefusesDamage) {
  TemporaryFolder folder;
  auto bytes = read_file(write_segment(folder / "a.mp4", 0, 5, 8), 10 << 20);
  EXPECT_EQ(code_of([&] { mp4_boxes(std::string_view(bytes).substr(0, bytes.size() - 3)); }),
            ErrorCode::kCorrupt);
  EXPECT_EQ(code_of([&] { init_size("not a video at all"); }), ErrorCode::kCorrupt);
  EXPECT_EQ(code_of([&] { init_size(media_part(bytes)); }), ErrorCode::kCorrupt);
  std::string none = bytes.substr(0, init_size(bytes));
  EXPECT_EQ(code_of([&] { move_fragments(none, 5, 1); }), ErrorCode::kCorrupt);
}

TEST(TrackTime, FramesLastWholeTicks) {
  for (const double fps : {0.1, 7.3, 8.0, 12.5, 23.976, 24.0, 25.0, 29.97, 59.94, 60.0, 119.88}) {
    const auto time = track_time(fps);
    EXPECT_GE(time.ticks_per_second, 10'000) << fps;
    EXPECT_EQ(time.ticks_per_second * time.rate_denominator,
              time.ticks_per_frame * time.rate_numerator);
    EXPECT_NEAR(
        static_cast<double>(time.rate_numerator) / static_cast<double>(time.rate_denominator), fps,
        1e-5 * fps);
  }
  EXPECT_EQ(track_time(29.97).rate_denominator, 100);
  EXPECT_EQ(track_time(25).rate_numerator, 25);
}

// The attempts of a job may word its request differently, and whoever watches sees no request.
TEST(SegmentWriter, SegmentsOfOtherRequestsJoinAndOnlyTheJoinedFileHasOne) {
  TemporaryFolder folder;
  std::vector<fs::path> files;
  for (int i = 0; i < 2; ++i) {
    auto options = options_at(8);
    options.metadata.request["init_image"] = fmt::format("/scratch/attempt-{}", i);
    options.metadata.models = {{{"name", fmt::format("m{}", i)}}};
    SegmentWriter writer(folder.path() / fmt::format("{}.mp4", i), options, i * 4);
    for (int f = 0; f < 4; ++f) writer.write(numbered_frame(i * 4 + f, 64, 48).view());
    files.push_back(writer.finish());
    const auto text = read_file(files.back(), 10 << 20);
    EXPECT_EQ(text.find("a test"), std::string::npos);
    EXPECT_EQ(text.find("/scratch"), std::string::npos);
    EXPECT_NE(text.find(kAiSourceType), std::string::npos);
  }
  auto options = options_at(8);
  options.metadata.request["init_image"] = "given.png";
  const auto joined = read_file(join_segments(files, folder / "joined.mp4", options), 10 << 20);
  EXPECT_NE(joined.find("a test"), std::string::npos);
  EXPECT_NE(joined.find("given.png"), std::string::npos);
}

}  // namespace
}  // namespace seamwright::media
