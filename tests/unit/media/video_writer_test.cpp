#include "media/video_writer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <fstream>

#include "base/rng.h"
#include "media/files.h"
#include "media/video_reader.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright::media {
namespace {

VideoOptions small(int width = 64, int height = 48) {
  VideoOptions options;
  options.width = width;
  options.height = height;
  options.metadata.request = {{"prompt", "a red = circle; #1 \\ \"quoted\"\nover hills é"},
                              {"seed", 42}};
  return options;
}

void write_numbered(VideoWriter& writer, int count, int width = 64, int height = 48) {
  for (int i = 0; i < count; ++i) writer.write(numbered_frame(i, width, height).view());
}

// Every frame once, in order.
void expect_numbered(const std::filesystem::path& file, int count) {
  VideoReader reader(file);
  RgbImage frame;
  for (int i = 0; i < count; ++i) {
    ASSERT_TRUE(reader.next(frame)) << "frame " << i << " of " << file;
    ASSERT_EQ(number_in(frame), i) << file;
  }
  EXPECT_FALSE(reader.next(frame)) << "more frames than written in " << file;
}

class VideoWriterFormats : public testing::TestWithParam<const char*> {};

TEST_P(VideoWriterFormats, KeepsEveryFrameOnceWithMetadataAndMark) {
  TemporaryFolder folder;
  const std::filesystem::path path = folder / GetParam();
  VideoWriter writer(path, small());
  write_numbered(writer, 101);
  EXPECT_FALSE(std::filesystem::exists(path)) << "the final name appeared before finish()";
  EXPECT_EQ(writer.finish(), path);
  expect_numbered(path, 101);
  const VideoInfo info = probe_video(path);
  EXPECT_NEAR(info.fps, 8.0, 0.2);
  EXPECT_EQ(info.width, 64);
  EXPECT_EQ(info.height, 48);
  if (path.extension() == ".gif") {
    const std::string bytes = read_file(path, 1 << 24);
    EXPECT_NE(bytes.find("seamwright-sidecar"), std::string::npos);
    EXPECT_NE(bytes.find("trainedAlgorithmicMedia"), std::string::npos);
    EXPECT_NE(bytes.find("XMP DataXMP"), std::string::npos);
    return;
  }
  const nlohmann::json embedded = parse_sidecar(info.tags.at("comment"), "comment");
  EXPECT_EQ(embedded, embedded_json(small().metadata));
  EXPECT_EQ(embedded["digital_source_type"], kAiSourceType);
  const char* mark = path.extension() == ".mp4" ? "xmp" : "digital_source_type";
  EXPECT_NE(info.tags.at(mark).find(kAiSourceType), std::string::npos);
}

TEST_P(VideoWriterFormats, LeavesNoMarkWhenSwitchedOff) {
  TemporaryFolder folder;
  const std::filesystem::path path = folder / GetParam();
  VideoOptions options = small();
  options.metadata.mark_ai_generated = false;
  VideoWriter writer(path, options);
  write_numbered(writer, 2);
  writer.finish();
  EXPECT_EQ(read_file(path, 1 << 24).find("trainedAlgorithmicMedia"), std::string::npos);
}

TEST_P(VideoWriterFormats, AbandonKeepsAPlayablePartialFile) {
  TemporaryFolder folder;
  const std::filesystem::path path = folder / GetParam();
  VideoWriter writer(path, small());
  write_numbered(writer, 7);
  const std::filesystem::path partial = writer.abandon();
  EXPECT_NE(partial, path);
  EXPECT_FALSE(std::filesystem::exists(path));
  expect_numbered(partial, 7);
}

TEST_P(VideoWriterFormats, DroppedWriterLeavesNothing) {
  TemporaryFolder folder;
  {
    VideoWriter writer(folder / GetParam(), small());
    write_numbered(writer, 3);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

INSTANTIATE_TEST_SUITE_P(Containers, VideoWriterFormats,
                         testing::Values("out.mp4", "out.webm", "out.gif"),
                         [](const auto& info) { return std::string(info.param).substr(4); });

TEST(VideoWriter, WritesNumberedPngFilesWithoutFfmpeg) {
  TemporaryFolder folder;
  VideoOptions options = small();
  options.ffmpeg = "no-such-encoder";
  VideoWriter writer(folder / "frames/", options);
  write_numbered(writer, 12);
  EXPECT_FALSE(std::filesystem::exists(folder / "frames"));
  EXPECT_EQ(writer.finish(), folder / "frames");
  for (int i = 0; i < 12; ++i) {
    const auto file = folder.path() / "frames" / fmt::format("{:06d}.png", i);
    EXPECT_EQ(read_png(file).pixels, numbered_frame(i, 64, 48).pixels);
  }
  const std::string bytes = read_file(folder / "frames/000003.png", 1 << 20);
  const auto texts = png_texts(std::as_bytes(std::span(bytes)));
  ASSERT_EQ(texts.size(), 2U);
  EXPECT_EQ(parse_sidecar(texts[0].text, "png"), embedded_json(options.metadata));
  EXPECT_EQ(texts[1].keyword, "XML:com.adobe.xmp");
  EXPECT_NE(texts[1].text.find(kAiSourceType), std::string::npos);
}

TEST(VideoWriter, ReplacesAFolderOfFramesButNoOther) {
  TemporaryFolder folder;
  for (int round = 0; round < 2; ++round) {
    VideoWriter writer(folder / "frames", small());
    write_numbered(writer, 3 - round);
    writer.finish();
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "frames/000002.png"));
  write_file_atomically(folder / "frames/thesis.txt", "precious");
  EXPECT_EQ(code_of([&] { VideoWriter(folder / "frames", small()); }), ErrorCode::kIo);
  EXPECT_TRUE(std::filesystem::exists(folder / "frames/thesis.txt"));
}

TEST(VideoWriter, MakesOddSidesEvenWithoutLosingAPixel) {
  TemporaryFolder folder;
  VideoWriter writer(folder / "odd.mp4", small(61, 45));
  write_numbered(writer, 5, 61, 45);
  const auto path = writer.finish();
  EXPECT_EQ(probe_video(path).width, 62);
  EXPECT_EQ(probe_video(path).height, 46);
  expect_numbered(path, 5);
}

TEST(VideoWriter, StartsAClosedGroupEveryFortyEightFrames) {
  TemporaryFolder folder;
  VideoWriter writer(folder / "grid.mp4", small());
  write_numbered(writer, 2 * kGroupFrames + 5);
  ChildSpec spec;
  spec.argv = {"ffprobe",
               "-v",
               "error",
               "-show_entries",
               "packet=pts_time,flags",
               "-of",
               "csv=p=0",
               writer.finish().string()};
  const ChildResult result = run_child(spec, std::chrono::seconds(20));
  std::vector<double> keys;
  std::istringstream lines(result.output);
  for (std::string line; std::getline(lines, line);) {
    if (line.find('K') != std::string::npos) keys.push_back(std::strtod(line.c_str(), nullptr));
  }
  ASSERT_EQ(keys.size(), 3U) << result.output;
  EXPECT_NEAR(keys[1] - keys[0], kGroupFrames / 8.0, 1e-3);
  EXPECT_NEAR(keys[2] - keys[1], kGroupFrames / 8.0, 1e-3);
}

TEST(VideoWriter, CoversAwkwardNames) {
  TemporaryFolder folder;
  const auto path = folder / "-y 50%: naïve 'x'.mp4";
  VideoWriter writer(path, small());
  write_numbered(writer, 2);
  EXPECT_EQ(writer.finish(), path);
  expect_numbered(path, 2);
}

TEST(VideoWriter, SaysHowToGetAMissingEncoder) {
  TemporaryFolder folder;
  VideoOptions options = small();
  options.ffmpeg = "no-such-encoder";
  std::string message;
  EXPECT_EQ(code_of([&] { VideoWriter(folder / "x.mp4", options); }, &message),
            ErrorCode::kUnsupported);
  EXPECT_NE(message.find("apt-get install ffmpeg"), std::string::npos) << message;
}

TEST(VideoWriter, RefusesADestinationThatCannotBeWritten) {
  TemporaryFolder folder;
  write_file_atomically(folder / "file", "x");
  EXPECT_EQ(code_of([&] { VideoWriter(folder / "file/x.mp4", small()); }), ErrorCode::kIo);
  EXPECT_EQ(code_of([&] { VideoWriter(folder / "file", small()); }), ErrorCode::kIo);
  std::filesystem::create_directory(folder / "taken.mp4");
  EXPECT_EQ(code_of([&] { VideoWriter(folder / "taken.mp4", small()); }), ErrorCode::kIo);
  EXPECT_EQ(code_of([&] { VideoWriter("/proc/nowhere/x.mp4", small()); }), ErrorCode::kIo);
}

TEST(VideoWriter, RefusesUnknownNamesSizesAndRates) {
  TemporaryFolder folder;
  std::string message;
  EXPECT_EQ(code_of([&] { VideoWriter(folder / "x.txt", small()); }, &message),
            ErrorCode::kInvalidArgument);
  EXPECT_NE(message.find(".mp4"), std::string::npos);
  for (const auto& [width, height, fps] :
       {std::tuple{0, 48, 8.0}, {64, -1, 8.0}, {100'000, 48, 8.0}, {64, 48, 0.0}, {64, 48, -3.0}}) {
    VideoOptions options = small(width, height);
    options.fps = fps;
    EXPECT_EQ(code_of([&] { VideoWriter(folder / "x.mp4", options); }),
              ErrorCode::kInvalidArgument);
  }
  VideoWriter writer(folder / "x.mp4", small());
  EXPECT_EQ(code_of([&] { writer.write(numbered_frame(0, 32, 48).view()); }),
            ErrorCode::kInvalidArgument);
}

// A file size limit makes the encoder's writes fail as a full disk does.
TEST(VideoWriter, ReportsAFullDiskAndLeavesNothing) {
  TemporaryFolder folder;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit tight{64U << 10U, before.rlim_max};
  std::string message;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  const ErrorCode code = code_of(
      [&] {
        VideoWriter writer(folder / "x.mp4", small(256, 256));
        std::vector<float> noise(256 * 256 * 3);
        RgbImage frame(256, 256);
        for (int i = 0; i < 200; ++i) {
          fill_normal({.seed = 1, .purpose = NoisePurpose::kTest, .frame = i}, noise);
          for (std::size_t p = 0; p < noise.size(); ++p) {
            frame.pixels[p] = static_cast<std::uint8_t>(128 + 40 * std::min(3.F, noise[p]));
          }
          writer.write(frame.view());
        }
        writer.finish();
      },
      &message);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(code, ErrorCode::kIo);
  EXPECT_NE(message.find("disk is full"), std::string::npos) << message;
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

// A stand-in encoder that dies in the middle, and one that never reads.
std::filesystem::path script(const TemporaryFolder& folder, const char* name, const char* body) {
  const std::filesystem::path path = folder / name;
  std::ofstream(path) << "#!/bin/sh\n" << body << "\n";
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  return path;
}

TEST(VideoWriter, ReportsAnEncoderThatDies) {
  TemporaryFolder folder;
  VideoOptions options = small(256, 256);
  options.ffmpeg = script(folder, "dies", "head -c 1000 >/dev/null; echo boom >&2; exit 3");
  std::string message;
  const ErrorCode code = code_of(
      [&] {
        VideoWriter writer(folder / "x.mp4", options);
        write_numbered(writer, 50, 256, 256);
        writer.finish();
      },
      &message);
  EXPECT_EQ(code, ErrorCode::kIo);
  EXPECT_NE(message.find("boom"), std::string::npos) << message;
  EXPECT_NE(message.find("status 3"), std::string::npos) << message;
}

TEST(VideoWriter, StopsAnEncoderThatHangs) {
  TemporaryFolder folder;
  VideoOptions options = small(512, 512);
  options.ffmpeg = script(folder, "hangs", "exec sleep 1000");
  options.stall_limit = std::chrono::milliseconds(300);
  EXPECT_EQ(code_of([&] {
              VideoWriter writer(folder / "x.mp4", options);
              write_numbered(writer, 50, 512, 512);
            }),
            ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace seamwright::media
