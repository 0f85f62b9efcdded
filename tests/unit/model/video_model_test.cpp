#include "model/video_model.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "model/reference/reference.h"
#include "model/safetensors.h"
#include "tests/unit/model/network_parity.h"

namespace seamwright::model {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing_support::parity_checkpoints;

const fs::path kCheckpoints = fs::path(SEAMWRIGHT_FIXTURES) / "checkpoints";

class VideoModelTest : public ::testing::Test {
 protected:
  // A copy of a checkpoint that a test may damage.
  fs::path copy_of(const std::string& name) {
    const fs::path to =
        fs::path(::testing::TempDir()) /
        (std::string("model_") + ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(to);
    fs::copy(kCheckpoints / name, to, fs::copy_options::recursive);
    for (const auto& entry : fs::recursive_directory_iterator(to)) {
      fs::permissions(entry, fs::perms::owner_write, fs::perm_options::add);
    }
    copies_.push_back(to);
    return to;
  }
  void TearDown() override {
    for (const auto& path : copies_) fs::remove_all(path);
  }

  static void edit_json(const fs::path& file, const std::function<void(Json&)>& change) {
    Json json = Json::parse(std::ifstream(file));
    change(json);
    std::ofstream(file) << json;
  }

  // What loading says is wrong.
  std::pair<ErrorCode, std::string> refusal(const LoadOptions& options) {
    try {
      VideoModel::load(options, *backend_);
    } catch (const Error& e) {
      return {e.code(), e.what()};
    }
    ADD_FAILURE() << "nothing was refused";
    return {};
  }

  std::unique_ptr<Backend> backend_ = make_reference_backend();
  std::vector<fs::path> copies_;
};

TEST_F(VideoModelTest, LoadsEveryTinyCheckpoint) {
  for (const auto& name : parity_checkpoints()) {
    SCOPED_TRACE(name);
    const auto model = VideoModel::load({.model = kCheckpoints / name}, *backend_);
    EXPECT_EQ(model->denoiser().in_channels(), 4);
    EXPECT_EQ(model->denoiser().max_window(), name == "fp16" ? 24 : 32);
    EXPECT_EQ(model->codec().latent_channels(), 4);
    EXPECT_FALSE(model->scheduler_config().text("_class_name", "").empty());
    EXPECT_EQ(model->hash().size(), 64U);
    EXPECT_GT(model->resident_bytes(), 0U);
  }
}

TEST_F(VideoModelTest, EncodesPromptsAsTheModelsLibraryDoes) {
  for (const auto& name : parity_checkpoints()) {
    SCOPED_TRACE(name);
    const auto model = VideoModel::load({.model = kCheckpoints / name}, *backend_);
    const SafetensorsFile expected(fs::path(SEAMWRIGHT_FIXTURES) / "networks" /
                                   (name + "-text.safetensors"));
    const ConstView want = expected.find("output")->view();
    const std::vector<std::string> prompts = {
        "", "a red circle moving in circles over green hills at night", std::string(300, 'x')};
    Exec exec{*backend_, heap()};
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const auto got = model->text().encode(exec, prompts[i]);
      ASSERT_EQ(got.embeddings.shape(), Shape({1, want.shape[1], want.shape[2]}));
      const ConstView row = want.slice(static_cast<std::int64_t>(i), 1);
      for (std::int64_t k = 0; k < row.elements(); ++k) {
        ASSERT_NEAR(got.embeddings.view().as<float>()[k], row.as<float>()[k], 2e-6)
            << "prompt " << i << " element " << k;
      }
      EXPECT_EQ(got.dropped.empty(), i != 2);
    }
  }
}

TEST_F(VideoModelTest, HashDependsOnContentAndNotOnPlace) {
  const fs::path copy = copy_of("fp16");
  const auto hash = [&](const fs::path& path) {
    return VideoModel::load({.model = path, .parts = {}}, *backend_)->hash();
  };
  EXPECT_EQ(hash(copy), hash(kCheckpoints / "fp16"));
  edit_json(copy / "scheduler" / "scheduler_config.json", [](Json& j) { j["steps_offset"] = 3; });
  EXPECT_NE(hash(copy), hash(kCheckpoints / "fp16"));
}

TEST_F(VideoModelTest, AStageLoadsOnlyItsShare) {
  const fs::path path = kCheckpoints / "unetmotion3";
  const auto resident = [&](std::vector<BlockRange> blocks) {
    const LoadOptions options{.model = path, .parts = {Part::kDenoiser}, .blocks = blocks};
    return VideoModel::load(options, *backend_)->resident_bytes();
  };
  const auto whole = resident({});
  const auto head = resident({{0, 8}}), tail = resident({{8, SIZE_MAX}});
  EXPECT_LT(head, whole);
  EXPECT_LT(tail, whole);
  EXPECT_GE(head + tail, whole);  // each has the time embedding
}

TEST_F(VideoModelTest, PerFrameMotionNormIsAnOption) {
  const fs::path path = kCheckpoints / "unetmotion3";
  std::vector<std::vector<double>> results;
  for (bool per_frame : {false, true}) {
    const auto model = VideoModel::load(
        {.model = path, .per_frame_motion_norm = per_frame, .parts = {Part::kDenoiser}}, *backend_);
    Exec exec{*backend_, heap()};
    Tensor sample(heap(), DType::kF64, {3, 4, 4, 4});
    for (int i = 0; i < 192; ++i) sample.view().as<double>()[i] = std::sin(i);
    Tensor embeddings(heap(), DType::kF32, {1, 2, 32});
    for (int i = 0; i < 64; ++i)
      embeddings.view().as<float>()[i] = 0.1F * static_cast<float>(i % 7);
    PromptContext context(std::move(embeddings));
    results.push_back(testing_support::values_of(
        *backend_, model->denoiser().predict(exec, sample, {.timestep = 5, .context = &context})));
  }
  EXPECT_NE(results[0], results[1]);
}

TEST_F(VideoModelTest, DefaultsComeFromTheFolder) {
  const fs::path copy = copy_of("sharded");
  std::ofstream(copy / "seamwright.json") << R"({"steps": 12, "sampler": "lcm", "overlap": 6})";
  const auto model = VideoModel::load({.model = copy, .parts = {}}, *backend_);
  EXPECT_EQ(model->defaults().steps, 12);
  EXPECT_EQ(model->defaults().sampler, "lcm");
  EXPECT_EQ(model->defaults().overlap, 6);
  EXPECT_LT(model->defaults().guidance, 0);
  EXPECT_LT(model->defaults().video_guidance, 0);
  std::ofstream(copy / "seamwright.json") << R"({"guidance": 1, "video_guidance": 2})";
  EXPECT_EQ(VideoModel::load({.model = copy, .parts = {}}, *backend_)->defaults().video_guidance,
            2);
  std::ofstream(copy / "seamwright.json")
      << R"({"known_frames": {"read": "clean", "window": 24, "overlap": 12, "guidance": 2}})";
  const auto known =
      VideoModel::load({.model = copy, .known_frames = true, .parts = {}}, *backend_);
  EXPECT_TRUE(known->defaults().known_frames.clean);
  EXPECT_EQ(known->defaults().known_frames.window, 24);
  EXPECT_EQ(known->defaults().known_frames.overlap, 12);
  EXPECT_EQ(known->defaults().known_frames.guidance, 2);
  const auto none = VideoModel::load({.model = copy, .parts = {}}, *backend_);
  EXPECT_FALSE(none->defaults().known_frames.clean);
  EXPECT_EQ(none->defaults().known_frames.window, 0);
  std::ofstream(copy / "seamwright.json") << R"({"stepz": 12})";
  EXPECT_NE(refusal({.model = copy}).second.find("stepz"), std::string::npos);
}

TEST_F(VideoModelTest, SaysWhatIsMissing) {
  EXPECT_EQ(refusal({.model = "/nowhere/at/all"}).first, ErrorCode::kNotFound);
  const auto no_unet = refusal({.model = kCheckpoints / "fp16" / "vae"});
  EXPECT_EQ(no_unet.first, ErrorCode::kNotFound);
  EXPECT_NE(no_unet.second.find("unet/config.json"), std::string::npos);

  const fs::path copy = copy_of("unet2d_adapter_v2");
  fs::rename(copy / "motion_adapter", copy / "elsewhere");
  const auto no_motion = refusal({.model = copy});
  EXPECT_EQ(no_motion.first, ErrorCode::kInvalidArgument);
  EXPECT_NE(no_motion.second.find("--motion-adapter"), std::string::npos);
  EXPECT_NO_THROW(
      VideoModel::load({.model = copy, .motion_adapter = copy / "elsewhere"}, *backend_));
  fs::remove_all(copy / "vae");
  EXPECT_NE(refusal({.model = copy, .motion_adapter = copy / "elsewhere"}).second.find("VAE"),
            std::string::npos);
  EXPECT_NO_THROW(VideoModel::load({.model = copy,
                                    .motion_adapter = copy / "elsewhere",
                                    .vae = kCheckpoints / "unet2d_adapter_v3"},
                                   *backend_));
}

TEST_F(VideoModelTest, RefusesPartsThatDoNotBelong) {
  const auto doubled = refusal({.model = kCheckpoints / "unetmotion3",
                                .motion_adapter = kCheckpoints / "unet2d_adapter_v2"});
  EXPECT_EQ(doubled.first, ErrorCode::kInvalidArgument);

  const fs::path copy = copy_of("unetmotion3");
  edit_json(copy / "unet" / "config.json",
            [](Json& j) { j["_class_name"] = "UNet3DConditionModel"; });
  const auto unknown = refusal({.model = copy});
  EXPECT_EQ(unknown.first, ErrorCode::kUnsupported);
  EXPECT_NE(unknown.second.find("UNet3DConditionModel"), std::string::npos);
}

TEST_F(VideoModelTest, RefusesAConfigThatDoesNotFitTheWeights) {
  const fs::path copy = copy_of("unetmotion3");
  edit_json(copy / "unet" / "config.json", [](Json& j) { j["cross_attention_dim"] = 48; });
  const auto shape = refusal({.model = copy});
  EXPECT_EQ(shape.first, ErrorCode::kCorrupt);
  EXPECT_NE(shape.second.find("attn2.to_k.weight"), std::string::npos) << shape.second;

  edit_json(copy / "unet" / "config.json", [](Json& j) {
    j["cross_attention_dim"] = 32;
    j["use_motion_mid_block"] = false;
  });
  const auto surplus = refusal({.model = copy});
  EXPECT_EQ(surplus.first, ErrorCode::kCorrupt);
  EXPECT_NE(surplus.second.find("mid_block.motion_modules.0"), std::string::npos) << surplus.second;
}

}  // namespace
}  // namespace seamwright::model
