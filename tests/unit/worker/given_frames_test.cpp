// Frames that are known: exact in the result, the same bits in every layout and after a loss.
#include "worker/given_frames.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <fstream>

#include "base/error.h"
#include "model/safetensors.h"
#include "tests/unit/worker/given_frames_fixture.h"
#include "worker/noise_source.h"

namespace seamwright::worker {
namespace {

using ::testing::HasSubstr;

struct Mode {
  const char* coherence;
  const char* sampler;
};

class EveryMode : public GivenFramesTest, public ::testing::WithParamInterface<Mode> {};

TEST_P(EveryMode, KeepsKnownFramesExactAndMakesTheOthers) {
  auto o = options(GetParam().coherence, GetParam().sampler);
  o.request.init_image = png(1).string();
  o.request.keyframes = {{9, png(2).string()}, {19, png(3).string()}};
  const auto first = run(o);
  o.request.seed = 12;
  const auto second = run(o);
  const auto plain_options = options(GetParam().coherence, GetParam().sampler);
  const auto plain = run(plain_options);
  for (int f = 0; f < kFrames; ++f) {
    const bool known = f == 0 || f == 9 || f == 19;
    const auto at = static_cast<std::size_t>(f);
    EXPECT_EQ(first[at] == second[at], known) << "frame " << f;
    EXPECT_NE(first[at], plain[at]) << "frame " << f << " does not feel the known ones";
    for (float v : first[at]) ASSERT_TRUE(std::isfinite(v));
  }
  EXPECT_EQ(first[0], encoded(picture(1)));
  EXPECT_EQ(first[9], encoded(picture(2)));
  EXPECT_EQ(first[19], encoded(picture(3)));
}

INSTANTIATE_TEST_SUITE_P(Modes, EveryMode,
                         ::testing::Values(Mode{"local", "ddim"}, Mode{"local", "dpm++_2m"},
                                           Mode{"local", "euler_a"}, Mode{"local", "lcm"},
                                           Mode{"causal", "ddim"}, Mode{"causal", "dpm++_2m"},
                                           Mode{"causal", "euler"}),
                         [](const auto& info) {
                           std::string name =
                               std::string(info.param.coherence) + "_" + info.param.sampler;
                           std::erase(name, '+');
                           return name;
                         });

TEST_F(GivenFramesTest, EveryLayoutGivesTheSameBits) {
  for (const char* coherence : {"local", "causal"}) {
    SCOPED_TRACE(coherence);
    auto o = options(coherence, "dpm++_2m");
    o.request.input_video = video(kFrames).string();
    o.request.missing = "5-9,15";
    const auto alone = hash(o);
    for (const scheduling::Layout& layout :
         {scheduling::Layout{2, 1, false}, scheduling::Layout{1, 2, false}}) {
      o.layout = layout;
      EXPECT_EQ(hash(o), alone) << scheduling::to_string(layout);
    }
    o.layout = {};
    o.request.order = "throughput";
    EXPECT_EQ(hash(o), alone);
  }
}

// A model that reads known frames without noise sees in one step what it sees where their latents
// lie among the noise of a job that knows nothing.
TEST_F(GivenFramesTest, KnownFramesMayBeReadAsTheyAre) {
  const auto folder = folder_ / "model";
  fs::copy(kModel, folder, fs::copy_options::recursive);
  const auto suggest = [&](const char* text) { std::ofstream(folder / "seamwright.json") << text; };
  // Around these the windows lie where they lie without known frames.
  const auto missing = [](int f) { return f >= 5 && f <= 9; };
  for (const char* sampler : {"ddim", "euler"}) {
    SCOPED_TRACE(sampler);
    auto o = options("local", sampler);
    o.model_folder = folder;
    o.request.steps = 1;
    o.request.resample = 1;
    NoiseOptions random;
    random.seed = 5;
    random.frames = kFrames;
    const NoiseSource noise(random);
    std::vector<float> start(kFrames * 4 * 8 * 8);
    const auto row = [&](int f) {
      return std::span(start).subspan(static_cast<std::size_t>(f) * 256, 256);
    };
    for (int f = 0; f < kFrames; ++f) noise.initial(f, row(f));
    const auto save = [&] {
      o.tensors.latents_in = folder_ / "start.safetensors";
      model::write_safetensors(
          *o.tensors.latents_in,
          std::array{model::StoredTensor{
              "latents", model::DType::kF32, {kFrames, 4, 8, 8}, std::as_bytes(std::span(start))}});
    };
    save();
    auto known = o;
    known.request.input_video = video(kFrames).string();
    known.request.missing = "5-9";
    suggest(R"({"known_frames": {"read": "noised"}})");
    const auto noised = run(known);
    suggest(R"({"known_frames": {"read": "clean"}})");
    const auto clean = run(known);
    for (int f = 0; f < kFrames; ++f) {
      if (!missing(f)) std::ranges::copy(clean[static_cast<std::size_t>(f)], row(f).begin());
    }
    save();
    const auto plain = run(o);
    for (int f = 0; f < kFrames; ++f) {
      const auto at = static_cast<std::size_t>(f);
      EXPECT_EQ(noised[at] != clean[at], missing(f)) << f;
      if (!missing(f)) continue;
      EXPECT_LT(distance(clean[at], plain[at]), 0.02) << f;  // Euler's first sigma is not endless
      EXPECT_EQ(clean[at] == plain[at], std::string_view(sampler) == "ddim") << f;
    }
  }
  for (const char* coherence : {"local", "causal"}) {
    SCOPED_TRACE(coherence);
    auto o = options(coherence, "dpm++_2m");
    o.model_folder = folder;
    o.request.input_video = video(kFrames).string();
    o.request.missing = "5-9,15";
    const auto alone = hash(o);
    o.layout = {2, 1, false};
    EXPECT_EQ(hash(o), alone);
    o.layout = {1, 2, false};
    EXPECT_EQ(hash(o), alone);
  }
  // Seen alike at every visit, they want one; where they are noised anew, two.
  for (const auto& [how, visits] : {std::pair{"clean", 1}, std::pair{"noised", 2}}) {
    suggest(fmt::format(R"({{"known_frames": {{"read": "{}"}}}})", how).c_str());
    auto o = options();
    o.model_folder = folder;
    o.request.input_video = video(kFrames).string();
    o.request.missing = "5-9,15";
    run(o);
    EXPECT_EQ(last_.report.at("evaluations"), 4 * 3 * visits) << how;
  }
}

// A model's own LoRA for known frames is the same as that LoRA asked for, and stays out of jobs
// that know none and of other motion modules; what a request says comes first.
TEST_F(GivenFramesTest, AModelSuggestsForKnownFrames) {
  const auto folder = folder_ / "model";
  const auto base = fs::path(SEAMWRIGHT_FIXTURES "/checkpoints/unet2d_adapter_v2");
  const fs::path lora = SEAMWRIGHT_FIXTURES "/loras/motion_diffusers.safetensors";
  fs::copy(base, folder, fs::copy_options::recursive);
  fs::copy(lora, folder / "given.safetensors");
  std::ofstream(folder / "seamwright.json") << R"({"overlap": 2, "known_frames": {"read": "clean",
      "lora": "given.safetensors", "window": 12, "overlap": 5, "guidance": 1.5}})";
  const auto started = [&](const fs::path& model, bool known) {
    auto o = options();
    o.model_folder = model;
    o.request.window = 0;
    o.request.overlap = -1;
    o.request.guidance = -1;
    if (known) o.request.init_image = png(1).string();
    return o;
  };
  const auto asked = [](GenerateOptions o) {
    o.request.window = 12;
    o.request.overlap = 5;
    o.request.guidance = 1.5;
    return o;
  };
  const auto made = hash(started(folder, true));
  EXPECT_EQ(made, hash(asked(started(folder, true))));
  auto other = asked(started(folder, true));
  other.request.guidance = 1;
  EXPECT_NE(made, hash(other));
  other = asked(started(folder, true));
  other.layout = {2, 2, false};
  EXPECT_EQ(made, hash(other));

  // The same by hand on a model that only reads frames so.
  const auto by_hand = folder_ / "by hand";
  fs::copy(base, by_hand, fs::copy_options::recursive);
  std::ofstream(by_hand / "seamwright.json") << R"({"known_frames": {"read": "clean"}})";
  other = asked(started(by_hand, true));
  EXPECT_NE(made, hash(other));
  other.request.lora = {{lora.string(), 1}};
  EXPECT_EQ(made, hash(other));

  // An overlap is held against the window that is suggested where none is asked for.
  other = started(folder, true);
  other.request.overlap = 11;
  EXPECT_NE(made, hash(other));
  other.request.overlap = 12;
  EXPECT_THAT(error_of(other), HasSubstr("overlap is 12, but windows of 12 frames, the default"));
  other = started(folder, false);
  other.request.overlap = 16;
  EXPECT_THAT(error_of(other), HasSubstr("share at most 15: give a smaller overlap or a larger"));

  // Jobs that know no frame take nothing of it.
  auto plain = started(folder, false), same = started(base, false);
  same.request.window = 16;
  same.request.overlap = 2;
  EXPECT_EQ(hash(plain), hash(same));

  // Another motion adapter is not what the suggestions were made for.
  other = asked(started(folder, true));
  other.request.motion_adapter = (base / "motion_adapter").string();
  same = asked(started(base, true));
  EXPECT_EQ(hash(other), hash(same));
}

TEST_F(GivenFramesTest, WrongSuggestionsAreNamed) {
  const auto folder = folder_ / "model";
  fs::copy(kModel, folder, fs::copy_options::recursive);
  auto o = options();
  o.model_folder = folder;
  o.request.init_image = png(1).string();
  for (const auto& [text, why] : {
           std::pair(R"("clean")", "known_frames: must be a JSON object"),
           std::pair(R"({"read": "some"})", "must be 'noised' or 'clean'"),
           std::pair(R"({"red": "clean"})", "unknown key 'red' (allowed: read, lora, window"),
           std::pair(R"({"lora": "../x.safetensors"})",
                     "must be the name of a file in this folder"),
           std::pair(R"({"lora": "none.safetensors"})", "none.safetensors"),
           std::pair(R"({"window": 64})", "window is 64, but this model's motion modules take"),
       }) {
    std::ofstream(folder / "seamwright.json") << fmt::format(R"({{"known_frames": {}}})", text);
    if (std::string_view(text).find("64") != std::string_view::npos) o.request.window = 0;
    EXPECT_THAT(error_of(o), HasSubstr(why));
  }
}

TEST_F(GivenFramesTest, MissingFramesAreFilledBetweenKnownOnes) {
  auto o = options();
  o.request.input_video = video(kFrames).string();
  o.request.missing = "5-9,15";
  const auto first = run(o);
  o.request.seed = 12;
  const auto second = run(o);
  for (int f = 0; f < kFrames; ++f) {
    const bool missing = (f >= 5 && f <= 9) || f == 15;
    EXPECT_EQ(first[static_cast<std::size_t>(f)] != second[static_cast<std::size_t>(f)], missing)
        << f;
  }
}

TEST_F(GivenFramesTest, WindowsThatMissNothingAreNotDenoised) {
  for (const char* coherence : {"local", "causal"}) {
    SCOPED_TRACE(coherence);
    auto o = options(coherence, "dpm++_2m");
    o.request.input_video = video(kFrames).string();
    o.request.missing = "17-18";
    const auto last_only = run(o);
    // One window of four, three steps, every level twice.
    EXPECT_EQ(last_.report.at("evaluations"), 1 * 3 * 2);
    o.request.missing = "1,17-18";
    const auto both_ends = run(o);
    EXPECT_EQ(last_.report.at("evaluations"), 2 * 3 * 2);
    for (int f = 0; f < kFrames; ++f) {
      const auto at = static_cast<std::size_t>(f);
      EXPECT_EQ(last_only[at] == both_ends[at], f != 1) << f;
    }
    // Two ranks, a window each.
    o.layout = {2, 1, false};
    EXPECT_EQ(run(o), both_ends);
  }
}

TEST_F(GivenFramesTest, DoublingTheFrameRateFillsEveryOtherFrame) {
  auto o = options();
  o.request.input_video = video(10).string();
  o.request.input_every = 2;
  EXPECT_EQ(frames_of_input(o.request), 19);
  const auto first = run(o);
  o.request.seed = 12;
  const auto second = run(o);
  for (int f = 0; f < kFrames; ++f) {
    EXPECT_EQ(first[static_cast<std::size_t>(f)] == second[static_cast<std::size_t>(f)], f % 2 == 0)
        << f;
  }
}

TEST_F(GivenFramesTest, ExtensionBeginsWithTheLastFrames) {
  auto o = options("causal");
  o.request.extend = video(30).string();
  const auto extended = run(o);
  auto whole = options("causal");
  whole.request.frames = 30;
  whole.request.input_video = o.request.extend;
  whole.request.missing = "0";
  whole.latents_out = folder_ / "whole.safetensors";
  generate(whole, {});
  const model::SafetensorsFile file(*whole.latents_out);
  std::vector<float> all(static_cast<std::size_t>(file.find("latents")->shape.elements()));
  model::copy_to_float(*file.find("latents"), all);
  const auto n = all.size() / 30;
  for (std::size_t f = 0; f < 4; ++f) {  // the overlap
    const auto at = all.begin() + static_cast<std::ptrdiff_t>((26 + f) * n);
    EXPECT_EQ(extended[f], std::vector<float>(at, at + static_cast<std::ptrdiff_t>(n))) << f;
  }
}

TEST_F(GivenFramesTest, AnInterruptedRunGoesOnWithTheSameFramesOnly) {
  auto o = options("local", "dpm++_2m");
  o.request.input_video = video(kFrames).string();
  o.request.missing = "5-9,15";
  const auto whole = hash(o);
  o.resume = folder_ / "job";
  o.checkpoint_steps = 1;
  o.failpoint = "error:rank=0:task=40:attempt=1";
  EXPECT_THAT(error_of(o), HasSubstr("failpoint"));
  o.failpoint.clear();
  o.layout = {2, 1, false};
  EXPECT_EQ(hash(o), whole);
  // Another video under the same name is another job.
  media::VideoOptions format;
  format.width = format.height = kSide;
  media::VideoWriter writer(o.request.input_video, format);
  for (int i = 0; i < kFrames; ++i) writer.write(picture(i + 1).view());
  writer.finish();
  EXPECT_THAT(error_of(o), HasSubstr("given_frames"));
}

TEST_F(GivenFramesTest, NothingIsLeftBesideTheOutput) {
  auto o = options();
  o.request.init_image = png(1).string();
  o.out = folder_ / "made" / "";
  fs::create_directories(folder_ / "made");
  generate(o, {});
  for (const auto& entry : fs::recursive_directory_iterator(folder_.path())) {
    EXPECT_EQ(entry.path().filename().string().find("given"), std::string::npos) << entry.path();
  }
}

TEST_F(GivenFramesTest, AStopWhileFramesAreEncodedEndsEveryRank) {
  for (const scheduling::Layout layout : {scheduling::Layout{}, scheduling::Layout{2, 1, false}}) {
    auto o = options();
    o.layout = layout;
    o.request.input_video = video(kFrames).string();
    o.request.strength = 0.5;
    std::atomic<bool> stop = false;
    o.stop = &stop;
    std::atomic<int> alive = 0;
    GenerateHooks hooks;
    hooks.alive = [&] {
      ++alive;
      stop = true;
    };
    const auto result = generate(o, hooks);
    EXPECT_FALSE(result.complete);
    EXPECT_EQ(result.frames, 0);
    EXPECT_GE(alive, 1);
    EXPECT_TRUE(result.report.is_null()) << "it was seen after the encoding";
  }
}

}  // namespace
}  // namespace seamwright::worker
