// Files in the original layouts load to the same networks as the same weights in diffusers' layout.
#include "model/files/single_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <span>

#include "model/files/file_kind.h"
#include "model/inspect.h"
#include "model/model_parts.h"
#include "model/random_checkpoint.h"
#include "model/reference/reference.h"
#include "model/safetensors.h"
#include "tests/unit/model/backend_contract.h"
#include "tests/unit/model/test_files.h"

namespace seamwright::model {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const fs::path kClip = fs::path(SEAMWRIGHT_FIXTURES) / "tokenizer" / "clip";

// The same random weights in both layouts, an eighth of the public widths.
class SingleFileTest : public ::testing::Test {
 protected:
  void write(MotionVersion motion) {
    write_random_checkpoint(
        {.folder = diffusers(), .tokenizer = kClip, .shrink = 8, .motion = motion});
    write_random_checkpoint({.folder = original(),
                             .tokenizer = kClip,
                             .shrink = 8,
                             .motion = motion,
                             .original_names = true});
  }
  fs::path diffusers() const { return folder_ / "diffusers"; }
  fs::path original() const { return folder_ / "original"; }
  fs::path checkpoint() const { return original() / kRandomCheckpointFile; }
  fs::path motion() const { return original() / kRandomMotionFile; }
  LoadOptions single() const { return {.model = checkpoint(), .motion_adapter = motion()}; }

  TemporaryFolder folder_;
};

std::vector<double> prediction(const VideoModel& model, Backend& backend) {
  Exec exec{backend, heap()};
  PromptContext context(model.text().encode(exec, "a random prompt").embeddings);
  Tensor sample(heap(), DType::kF64, {2, 4, 4, 4});
  for (int i = 0; i < 128; ++i) sample.view().as<double>()[i] = std::sin(1.7 * i) * 1.4;
  return testing_support::values_of(
      backend, model.denoiser().predict(exec, sample, {.timestep = 500, .context = &context}));
}

std::vector<double> decoded(const VideoModel& model, Backend& backend) {
  Exec exec{backend, heap()};
  Tensor latents(heap(), DType::kF64, {1, 2, 2, 4});
  for (int i = 0; i < 16; ++i) latents.view().as<double>()[i] = std::sin(0.9 * i);
  return testing_support::values_of(backend, model.codec().decode(exec, latents));
}

class EveryMotionVersion : public SingleFileTest,
                           public ::testing::WithParamInterface<MotionVersion> {};

TEST_P(EveryMotionVersion, GivesTheBitsOfTheDiffusersLayout) {
  write(GetParam());
  const auto backend = make_reference_backend();
  const auto a = VideoModel::load({.model = diffusers()}, *backend);
  const auto b = VideoModel::load(single(), *backend);
  EXPECT_EQ(a->denoiser().max_window(), b->denoiser().max_window());
  EXPECT_EQ(prediction(*a, *backend), prediction(*b, *backend));
  EXPECT_EQ(decoded(*a, *backend), decoded(*b, *backend));
  EXPECT_NE(a->hash(), b->hash()) << "other files are another model to the metadata";

  // Each override by file alone, in either naming.
  const auto mixed = VideoModel::load(
      {.model = checkpoint(),
       .motion_adapter = diffusers() / "motion_adapter" / "diffusion_pytorch_model.safetensors",
       .vae = diffusers() / "vae" / "diffusion_pytorch_model.safetensors"},
      *backend);
  EXPECT_EQ(prediction(*a, *backend), prediction(*mixed, *backend));
  EXPECT_EQ(decoded(*a, *backend), decoded(*mixed, *backend));
  const auto other_way = VideoModel::load(
      {.model = diffusers(), .motion_adapter = motion(), .vae = checkpoint()}, *backend);
  EXPECT_EQ(prediction(*a, *backend), prediction(*other_way, *backend));
  EXPECT_EQ(decoded(*a, *backend), decoded(*other_way, *backend));
}

INSTANTIATE_TEST_SUITE_P(SingleFile, EveryMotionVersion,
                         ::testing::Values(MotionVersion::kV1, MotionVersion::kV2,
                                           MotionVersion::kV3),
                         [](const auto& info) {
                           return info.param == MotionVersion::kV1   ? "V1"
                                  : info.param == MotionVersion::kV2 ? "V2"
                                                                     : "V3";
                         });

TEST_F(SingleFileTest, FilesSayWhatTheyAre) {
  write(MotionVersion::kV2);
  EXPECT_THAT(describe_file(checkpoint()).title, HasSubstr("Stable Diffusion 1.x checkpoint"));
  EXPECT_THAT(describe_file(motion()).title, HasSubstr("v2 layout (with a mid module), original"));
  const auto vae = describe_file(diffusers() / "vae" / "diffusion_pytorch_model.safetensors");
  EXPECT_EQ(vae.title, "VAE, diffusers names");
  for (const char* part : {"unet", "text_encoder"}) {
    const auto file =
        diffusers() / part /
        (std::string(part) == "unet" ? "diffusion_pytorch_model.safetensors" : "model.safetensors");
    EXPECT_THAT(describe_file(file).refused, HasSubstr("--model")) << part;
  }
  EXPECT_TRUE(inspect_model({.load = single()}).loads())
      << to_text(inspect_model({.load = single()}));
}

TEST_F(SingleFileTest, WrongFilesAreRefusedByWhatTheyAre) {
  write(MotionVersion::kV3);
  const auto backend = make_reference_backend();
  EXPECT_THAT(error_of([&] { open_denoiser(motion(), {}); }).what(),
              HasSubstr("cannot be given as --model: it is: AnimateDiff motion module"));
  EXPECT_THAT(error_of([&] { open_denoiser(checkpoint(), checkpoint()); }).what(),
              HasSubstr("cannot be given as --motion-adapter"));
  EXPECT_THAT(error_of([&] { open_codec(checkpoint(), motion()); }).what(),
              HasSubstr("cannot be given as --vae"));
  EXPECT_THAT(error_of([&] { open_denoiser(checkpoint(), {}); }).what(),
              HasSubstr("--motion-adapter"));
  fs::remove_all(original() / "tokenizer");
  EXPECT_THAT(error_of([&] { VideoModel::load(single(), *backend); }).what(),
              HasSubstr("vocab.json and merges.txt as --tokenizer"));
  auto with_fallback = single();
  with_fallback.tokenizer_fallback = kClip;
  EXPECT_NO_THROW(VideoModel::load(with_fallback, *backend));
}

// A copy of the checkpoint with one change.
class ChangedFileTest : public SingleFileTest {
 protected:
  template <class Change>
  fs::path changed(Change&& change) {
    const SafetensorsFile file(checkpoint());
    std::vector<StoredTensor> tensors;
    for (const auto& tensor : file.tensors()) tensors.push_back(tensor);
    change(tensors);
    const fs::path to = folder_ / "changed.safetensors";
    write_safetensors(to, tensors);
    return to;
  }
};

TEST_F(ChangedFileTest, LeftoversOfTrainingAreAllowedAndStrangersNamed) {
  write(MotionVersion::kV3);
  const float one = 1;
  const auto add = [&](const char* name) {
    return changed([&](auto& tensors) {
      tensors.push_back({name, DType::kF32, Shape{1}, std::as_bytes(std::span(&one, 1))});
    });
  };
  for (const char* name : {"alphas_cumprod", "model_ema.decay", "first_stage_model.loss.logvar",
                           "cond_stage_model.transformer.text_model.embeddings.position_ids"}) {
    const auto backend = make_reference_backend();
    auto options = single();
    options.model = add(name);
    options.tokenizer = kClip;
    EXPECT_NO_THROW(VideoModel::load(options, *backend)) << name;
  }
  const auto backend = make_dry_backend();
  for (const char* name : {"model.diffusion_model.label_emb.0.weight", "stranger.weight"}) {
    const auto file = add(name);
    EXPECT_THAT(error_of([&] { build_denoiser(open_denoiser(file, motion()), *backend); }).what(),
                HasSubstr(name));
  }
}

TEST_F(ChangedFileTest, OtherFamiliesAndMissingPartsAreToldApart) {
  write(MotionVersion::kV3);
  const float one = 1;
  const auto with = [&](std::string name) {
    return describe_file(changed([&](auto& tensors) {
             tensors.push_back(
                 {std::move(name), DType::kF32, Shape{1}, std::as_bytes(std::span(&one, 1))});
           }))
        .title;
  };
  EXPECT_THAT(with("conditioner.embedders.0.x"), HasSubstr("SDXL"));
  EXPECT_THAT(with("cond_stage_model.model.x"), HasSubstr("2.x"));
  const auto without = [&](std::string_view prefix) {
    return changed([&](auto& tensors) {
      std::erase_if(tensors, [&](const auto& t) { return t.name.starts_with(prefix); });
    });
  };
  const auto no_vae = without("first_stage_model.");
  EXPECT_THAT(describe_file(no_vae).title, HasSubstr("without VAE"));
  EXPECT_THAT(error_of([&] { open_codec(no_vae, {}); }).what(), HasSubstr("--vae FILE"));
  EXPECT_NO_THROW(open_codec(no_vae, checkpoint()));
  EXPECT_THAT(describe_file(without("cond_stage_model.")).refused, HasSubstr("text encoder"));
}

TEST(FoldersInPlaceOfAFile, AreNamedAsSuch) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of([&] { describe_file(folder.path()); }).what(), HasSubstr("is a folder"));
}

TEST(Pickles, AreRefusedWithTheirConversionWhateverTheirName) {
  TemporaryFolder folder;
  const auto zip = folder.write("a.ckpt", std::string("PK\x03\x04rest", 8));
  const auto old = folder.write("b.safetensors", std::string("\x80\x02}q", 4));
  for (const auto& file : {zip, old}) {
    const Error error = error_of([&] { describe_file(file); });
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr("weights_only=True"));
  }
  EXPECT_THAT(error_of([&] { describe_file(folder.write("c.gguf", "GGUF....")); }).what(),
              HasSubstr("GGUF"));
}

}  // namespace
}  // namespace seamwright::model
