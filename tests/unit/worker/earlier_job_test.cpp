// An earlier job's sidecar as what a video starts from: its latents bit for bit where they were
// kept, its video otherwise.
#include "worker/earlier_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/unit/worker/given_frames_fixture.h"
#include "worker/given_frames.h"

namespace seamwright::worker {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

class EarlierJobTest : public GivenFramesTest {
 protected:
  // A job of kFrames frames with its video and latents.
  void SetUp() override {
    auto o = options();
    o.out = folder_ / "before.mp4";
    before_ = run(o);  // latents.safetensors
    fs::rename(folder_ / "latents.safetensors", folder_ / "kept.safetensors");
    change_result("latents_file", "kept.safetensors");
  }
  fs::path sidecar() const { return folder_ / "before.mp4.json"; }
  Json read() const { return Json::parse(std::ifstream(sidecar())); }
  void write(const Json& json) const { std::ofstream(sidecar()) << json.dump(); }
  void change_result(const char* name, const Json& value) const {
    auto json = read();
    json["result"][name] = value;
    write(json);
  }
  GenerateOptions extending(const std::string& coherence = "local") {
    auto o = options(coherence);
    o.request.extend = sidecar().string();
    return o;
  }

  Latents before_;
};

TEST_F(EarlierJobTest, ASidecarNamesTheLatentsThatWereKept) {
  auto o = options();
  o.out = folder_ / "again.mp4";
  run(o);
  const auto job = read_earlier_job(folder_ / "again.mp4.json");
  EXPECT_EQ(job.latents, folder_ / "latents.safetensors");
  EXPECT_EQ(job.video, folder_ / "again.mp4");
  EXPECT_EQ(job.frames, kFrames);
}

TEST_F(EarlierJobTest, AnExtensionTakesItsLastLatentsBitForBit) {
  for (const char* coherence : {"local", "causal"}) {
    SCOPED_TRACE(coherence);
    const auto made = run(extending(coherence));
    for (std::size_t f = 0; f < 4; ++f) EXPECT_EQ(made[f], before_[kFrames - 4 + f]) << f;
    EXPECT_NE(made[4], before_[kFrames - 1]);
  }
}

TEST_F(EarlierJobTest, MissingFramesAreFilledBetweenItsLatents) {
  auto o = options();
  o.request.input_video = sidecar().string();
  o.request.missing = "5-9";
  EXPECT_EQ(frames_of_input(o.request), kFrames);
  const auto made = run(o);
  for (std::size_t f = 0; f < kFrames; ++f) {
    EXPECT_EQ(made[f] == before_[f], f < 5 || f > 9) << f;
  }
}

TEST_F(EarlierJobTest, FramesAreChosenAmongItsLatents) {
  auto o = options();
  o.request.input_video = sidecar().string();
  o.request.input_skip = 2;
  o.request.input_step = 3;
  o.request.frames = 6;
  o.request.missing = "1";
  EXPECT_EQ(frames_of_input(o.request), 6);
  o.latents_out = folder_ / "chosen.safetensors";
  generate(o, {});
  const model::SafetensorsFile file(*o.latents_out);
  const auto* tensor = file.find("latents");
  std::vector<float> values(static_cast<std::size_t>(tensor->shape.elements()));
  model::copy_to_float(*tensor, values);
  const auto n = static_cast<std::ptrdiff_t>(values.size() / 6);
  for (const int f : {0, 2, 5}) {
    const auto at = values.begin() + f * n;
    EXPECT_EQ(std::vector<float>(at, at + n), before_[static_cast<std::size_t>(2 + 3 * f)]) << f;
  }
}

TEST_F(EarlierJobTest, EveryLayoutAndAResumeGiveTheSameBits) {
  auto o = extending("causal");
  const auto alone = hash(o);
  o.layout = {2, 1, false};
  EXPECT_EQ(hash(o), alone);
  o.resume = folder_ / "job";
  o.checkpoint_steps = 1;
  o.failpoint = "error:rank=0:task=20:attempt=1";
  EXPECT_THAT(error_of(o), HasSubstr("failpoint"));
  o.failpoint.clear();
  o.layout = {1, 2, false};
  EXPECT_EQ(hash(o), alone);
}

TEST_F(EarlierJobTest, WithoutLatentsItsVideoIsEncoded) {
  auto o = extending();
  const auto from_latents = hash(o);
  fs::remove(folder_ / "kept.safetensors");
  const auto from_sidecar = hash(o);
  EXPECT_NE(from_sidecar, from_latents);
  o.request.extend = (folder_ / "before.mp4").string();
  EXPECT_EQ(hash(o), from_sidecar);
}

TEST_F(EarlierJobTest, LatentsOfAnotherModelAreNotTaken) {
  auto o = extending();
  o.request.extend = (folder_ / "before.mp4").string();
  const auto from_video = hash(o);
  auto json = read();
  json["models"][0]["sha256"] = "another";
  write(json);
  o.request.extend = sidecar().string();
  EXPECT_EQ(hash(o), from_video);
}

TEST_F(EarlierJobTest, ChangedLatentsAreRefused) {
  auto bytes = [&] {
    std::ifstream in(folder_ / "kept.safetensors", std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  }();
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  std::ofstream(folder_ / "kept.safetensors", std::ios::binary) << bytes;
  EXPECT_THAT(error_of(extending()), HasSubstr("their hash differs"));
  std::ofstream(folder_ / "kept.safetensors", std::ios::binary)
      << bytes.substr(0, bytes.size() / 2);
  EXPECT_THAT(error_of(extending()), HasSubstr("kept.safetensors"));
  change_result("frames", kFrames + 1);
  EXPECT_THAT(error_of(extending()), HasSubstr("kept.safetensors"));
}

TEST_F(EarlierJobTest, WhatIsGoneIsSaid) {
  fs::remove(folder_ / "before.mp4");
  EXPECT_NO_THROW(hash(extending()));  // the latents are enough
  auto other = extending();
  other.request.width = other.request.height = 2 * kSide;
  EXPECT_THAT(error_of(other), HasSubstr("the same model at the same size"));
  fs::remove(folder_ / "kept.safetensors");
  EXPECT_THAT(error_of(extending()), HasSubstr("nothing to start from"));
  change_result("latents_file", Json());
  EXPECT_THAT(error_of(extending()), HasSubstr("no latents were kept"));
  fs::create_directory(folder_ / "before.mp4");
  EXPECT_THAT(error_of(extending()), HasSubstr("a folder of pictures"));
}

TEST_F(EarlierJobTest, WhatIsNoSidecarIsRefused) {
  const auto refusal_of = [&](const std::string& text) {
    std::ofstream(sidecar()) << text;
    return error_of(extending());
  };
  for (const char* text : {"", "{}", "[1]", "{\"format\": \"other\"}", "not json"}) {
    EXPECT_THAT(refusal_of(text), HasSubstr("before.mp4.json")) << text;
  }
  // Members of other types are as good as absent: nothing of them is believed.
  EXPECT_THAT(refusal_of(R"({"format": "seamwright-sidecar", "version": 1,
                             "request": {"frames": "many"}, "result": [7], "models": {"a": 1}})"),
              HasSubstr("how many frames"));
  fs::remove(sidecar());
  EXPECT_THAT(error_of(extending()), HasSubstr("before.mp4.json"));
}

}  // namespace
}  // namespace seamwright::worker
