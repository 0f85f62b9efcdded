#include "media/metadata.h"

#include <gtest/gtest.h>

#include "media/files.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright::media {
namespace {

TEST(Sidecar, RoundTripsRequestAndResult) {
  TemporaryFolder folder;
  MediaMetadata metadata;
  metadata.request = {{"prompt", "a \xff broken byte"}, {"seed", 18446744073709551615ULL}};
  metadata.models = {{{"name", "demo"}, {"sha256", "abc"}}};
  const auto path = write_sidecar(folder / "v.mp4", metadata, {{"latents_sha256", "123"}});
  EXPECT_EQ(path, folder / "v.mp4.json");
  const nlohmann::json back = read_sidecar(path);
  EXPECT_EQ(back["request"]["seed"], 18446744073709551615ULL);
  EXPECT_EQ(back["result"]["latents_sha256"], "123");
  EXPECT_EQ(back["models"][0]["name"], "demo");
  EXPECT_EQ(back["digital_source_type"], kAiSourceType);
}

TEST(Sidecar, OfAFolderLiesBesideIt) {
  EXPECT_EQ(sidecar_path("out/frames/"), std::filesystem::path("out/frames.json"));
  EXPECT_EQ(sidecar_path("frames"), std::filesystem::path("frames.json"));
}

TEST(Sidecar, RefusesOtherFiles) {
  const auto code = [](const std::string& text) {
    return code_of([&] { parse_sidecar(text, "test"); });
  };
  EXPECT_EQ(code(""), ErrorCode::kCorrupt);
  EXPECT_EQ(code("[]"), ErrorCode::kCorrupt);
  EXPECT_EQ(code("{\"format\": 3}"), ErrorCode::kCorrupt);
  EXPECT_EQ(code("{\"format\": \"seamwright-sidecar\", \"version\": 1"), ErrorCode::kCorrupt);
  EXPECT_EQ(code("{\"format\": \"seamwright-sidecar\", \"version\": 1}"), ErrorCode::kCorrupt);
  EXPECT_EQ(code("{\"format\": \"seamwright-sidecar\", \"version\": 2, \"request\": {}}"),
            ErrorCode::kUnsupported);
  EXPECT_EQ(code(std::string(1'000'000, '[')), ErrorCode::kCorrupt);
  EXPECT_EQ(code("{\"format\": \"seamwright-sidecar\", \"version\": 1, \"request\": {}}"),
            ErrorCode::kInternal)
      << "the smallest valid sidecar must be accepted";
}

TEST(Sidecar, RefusesAHugeFileUnread) {
  TemporaryFolder folder;
  write_file_atomically(folder / "big.json", "{");
  std::filesystem::resize_file(folder / "big.json", 17LL << 20);
  EXPECT_EQ(code_of([&] { read_sidecar(folder / "big.json"); }), ErrorCode::kResource);
}

TEST(Xmp, EscapesTheToolName) {
  MediaMetadata metadata;
  metadata.software = "a<b & \"c\"";
  EXPECT_NE(xmp_packet(metadata).find("a&lt;b &amp; &quot;c&quot;"), std::string::npos);
  metadata.mark_ai_generated = false;
  EXPECT_EQ(xmp_packet(metadata), "");
  EXPECT_EQ(png_metadata(metadata).size(), 1U);
}

}  // namespace
}  // namespace seamwright::media
