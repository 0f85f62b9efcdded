// LoRA in every naming against what diffusers has after load_lora_weights and fuse_lora
// (tools/reference/make_loras.py), and the refusals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <list>
#include <span>

#include "model/checkpoint_files.h"
#include "model/convert.h"
#include "model/files/file_kind.h"
#include "model/files/lora_file.h"
#include "model/files/lora_merge.h"
#include "model/model_parts.h"
#include "model/reference/reference.h"
#include "tests/unit/model/test_files.h"

namespace seamwright::model {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const fs::path kLoras = fs::path(SEAMWRIGHT_FIXTURES) / "loras";
const fs::path kBase = fs::path(SEAMWRIGHT_FIXTURES) / "checkpoints" / "unet2d_adapter_v2";
constexpr double kScale = 0.7;  // of the fixtures

fs::path lora(const std::string& name) { return kLoras / (name + ".safetensors"); }

struct Parts {
  Parts() : denoiser(open_denoiser(kBase, {})), text(open_text(kBase)) {}
  explicit Parts(const std::vector<LoraChoice>& loras) : Parts() {
    add_loras(loras, denoiser, text);
  }
  // A name of the fixtures, "unet.conv_in.weight", in its part.
  std::optional<ConstView> find(const std::string& name) const {
    const auto dot = name.find('.');
    const auto part = name.substr(0, dot), tensor = name.substr(dot + 1);
    return part == "unet"     ? denoiser.unet.source->find(tensor)
           : part == "motion" ? denoiser.adapter.source->find(tensor)
                              : text.weights.source->find(tensor);
  }
  DenoiserFiles denoiser;
  TextFiles text;
};

std::vector<float> values(ConstView view) {
  const Tensor t = converted(view, DType::kF32);
  const auto* begin = t.view().as<float>();
  return {begin, begin + t.view().elements()};
}

double relative_rms(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - b[i], 2);
    size += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(difference / size);
}

struct Case {
  const char* name;
  const char* title;
};

class LoraFormat : public ::testing::TestWithParam<Case> {};

TEST_P(LoraFormat, EqualsDiffusersAfterFusing) {
  const std::string name = GetParam().name;
  const Parts plain, merged({{lora(name), kScale}});
  const SafetensorsFile fused(lora(name + "-fused"));
  for (const auto& expected : fused.tensors()) {
    const auto before = plain.find(expected.name), after = merged.find(expected.name);
    ASSERT_TRUE(before && after) << expected.name;
    EXPECT_LT(relative_rms(values(*after), values(expected.view())), 1e-6) << expected.name;
    EXPECT_GT(relative_rms(values(*before), values(expected.view())), 0.01)
        << expected.name << ": the fixture must change something";
  }
  // Nothing else changed.
  std::size_t changed = 0;
  for (const auto& [part, source] : {std::pair{"unet.", merged.denoiser.unet.source},
                                     {"motion.", merged.denoiser.adapter.source},
                                     {"text.", merged.text.weights.source}}) {
    for (const auto& tensor : source->names()) {
      const auto before = plain.find(part + tensor), after = source->find(tensor);
      if (before->dtype == DType::kI64) continue;
      if (values(*before) != values(*after)) ++changed;
    }
  }
  EXPECT_EQ(changed, fused.tensors().size());
}

TEST_P(LoraFormat, SaysWhatItIs) {
  EXPECT_THAT(describe_file(lora(GetParam().name)).title, HasSubstr(GetParam().title));
}

INSTANTIATE_TEST_SUITE_P(
    Namings, LoraFormat,
    ::testing::Values(
        Case{"kohya", "LoRA in kohya names, rank 4, 13 layers, of U-Net and text encoder, conv"},
        Case{"diffusers_old", "LoRA in diffusers names, rank 3, 6 layers"},
        Case{"diffusers_new", "LoRA in diffusers names, rank 2, 8 layers"},
        Case{"peft", "LoRA in PEFT names, rank 4, 8 layers, of the U-Net, conv"},
        Case{"motion_diffusers", "motion LoRA in diffusers names, rank 4, 3 layers"},
        Case{"motion_original", "motion LoRA in original names, rank 4, 3 layers"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Lora, SeveralAddUpAndScaleZeroIsNothing) {
  const std::string layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight";
  const auto one = values(*Parts().find("unet." + layer));
  const auto a = values(*Parts({{lora("kohya"), 1}}).find("unet." + layer));
  const auto b = values(*Parts({{lora("peft"), -0.5}}).find("unet." + layer));
  const auto both =
      values(*Parts({{lora("kohya"), 1}, {lora("peft"), -0.5}}).find("unet." + layer));
  std::vector<float> sum(one.size());
  for (std::size_t i = 0; i < one.size(); ++i) sum[i] = a[i] + b[i] - one[i];
  EXPECT_LT(relative_rms(both, sum), 1e-6);
  EXPECT_EQ(values(*Parts({{lora("kohya"), 0}}).find("unet." + layer)), one);
}

TEST(Lora, ChangesTheModelsHashByFileAndScale) {
  const auto backend = make_reference_backend();
  const auto hash = [&](std::vector<LoraChoice> loras) {
    return VideoModel::load({.model = kBase, .loras = std::move(loras)}, *backend)->hash();
  };
  const auto none = hash({}), kohya = hash({{lora("kohya"), 1}});
  EXPECT_NE(none, kohya);
  EXPECT_NE(kohya, hash({{lora("kohya"), 0.5}}));
  EXPECT_EQ(kohya, hash({{lora("kohya"), 1}}));
}

// One tensor of a made-up file.
class MadeLora : public ::testing::Test {
 protected:
  void add(const std::string& name, const Shape& shape) {
    auto& values = storage_.emplace_back(static_cast<std::size_t>(shape.elements()), 0.5F);
    tensors_.push_back({name, DType::kF32, shape, std::as_bytes(std::span(values))});
  }
  // The error of merging what was added.
  std::string error() {
    const fs::path file = folder_ / "made.safetensors";
    write_safetensors(file, tensors_);
    tensors_.clear();
    return error_of([&] { Parts({{file, 1}}); }).what();
  }
  static constexpr const char* kLayer =
      "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q";
  TemporaryFolder folder_;
  std::list<std::vector<float>> storage_;
  std::vector<StoredTensor> tensors_;
};

TEST_F(MadeLora, UnmatchedAndUnknownKeysAreNamed) {
  add("lora_unet_down_blocks_7_x.lora_down.weight", {2, 16});
  add("lora_unet_down_blocks_7_x.lora_up.weight", {16, 2});
  EXPECT_THAT(error(), HasSubstr("lora_unet_down_blocks_7_x.lora_down.weight"));
  add(std::string(kLayer) + ".lora_down.weight", {2, 16});
  EXPECT_THAT(error(), HasSubstr("up half is missing"));
  add(std::string(kLayer) + ".lora_down.weight", {2, 16});
  add(std::string(kLayer) + ".lora_up.weight", {16, 2});
  add("stranger", {1});
  EXPECT_THAT(error(), HasSubstr("stranger"));
  add("lora_te2_text_model_x.lora_down.weight", {2, 16});
  add("lora_te2_text_model_x.lora_up.weight", {16, 2});
  EXPECT_THAT(error(), HasSubstr("lora_te2_text_model_x"));
}

TEST_F(MadeLora, RelativesOfLoraAreNamed) {
  for (const auto& [tail, what] : {std::pair{".dora_scale", "DoRA"},
                                   {".lora_mid.weight", "Tucker"},
                                   {".hada_w1_a", "LoHa"},
                                   {".diff", "full differences"},
                                   {".diff_b", "full differences"},
                                   {".lokr_w1", "LoKr"}}) {
    add(std::string(kLayer) + ".lora_down.weight", {2, 16});
    add(std::string(kLayer) + ".lora_up.weight", {16, 2});
    add(std::string(kLayer) + tail, {2, 2});
    EXPECT_THAT(error(), HasSubstr(what));
  }
}

TEST_F(MadeLora, ShapesOfAnotherModelAreRefused) {
  add(std::string(kLayer) + ".lora_down.weight", {2, 24});
  add(std::string(kLayer) + ".lora_up.weight", {24, 2});
  EXPECT_THAT(error(), HasSubstr("trained on another model"));
  add(std::string(kLayer) + ".lora_down.weight", {2, 16});
  add(std::string(kLayer) + ".lora_up.weight", {16, 3});
  EXPECT_THAT(error(), HasSubstr("must be [rank, in] and [out, rank]"));
}

TEST_F(MadeLora, OtherFilesAreSaidToBeWhatTheyAre) {
  const auto vae = kBase / "vae" / "diffusion_pytorch_model.safetensors";
  EXPECT_THAT(error_of([&] { Parts({{vae, 1}}); }).what(), HasSubstr("cannot be given as --lora"));
}

TEST_F(MadeLora, NamesOfTheOriginalModelAreNoFullDifferences) {
  // Ranks that do not fit, so that there is an error whatever this small model's layers are called.
  const std::string layer =
      "base_model.model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q";
  add(layer + ".lora_A.weight", {2, 16});
  add(layer + ".lora_B.weight", {16, 3});
  EXPECT_THAT(error(), HasSubstr("must be [rank, in] and [out, rank]"));
}

}  // namespace
}  // namespace seamwright::model
