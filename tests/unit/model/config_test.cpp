#include <gmock/gmock.h>

#include "model/config_json.h"
#include "model/config_readers.h"
#include "tests/unit/model/test_files.h"

namespace seamwright::model {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Config config(std::string_view text) { return Config(parse_json(text, "c.json"), "c.json"); }

TEST(ParseJson, RefusesDuplicateKeysDepthSizeAndBrokenText) {
  EXPECT_THAT(error_of([] { parse_json(R"({"a":1,"a":2})", "f"); }).what(),
              HasSubstr("'a' appears twice"));
  EXPECT_NO_THROW(parse_json(R"({"a":{"b":1},"b":[{"a":1},{"a":2}]})", "f"));
  const std::string deep = std::string(100000, '[');
  EXPECT_THAT(error_of([&] { parse_json(deep, "f"); }).what(), HasSubstr("nested deeper than 32"));
  EXPECT_THAT(error_of([] { parse_json("[1,2,3]", "f", {.max_bytes = 4, .max_depth = 2}); }).what(),
              HasSubstr("7 bytes"));
  for (const char* bad :
       {"", "{", "{\"a\":}", "{\"a\":1}}", "nul", "\"\xc3\x28\"", "NaN", "1e999"}) {
    EXPECT_EQ(error_of([&] { parse_json(bad, "f"); }).code(), ErrorCode::kCorrupt) << bad;
  }
}

TEST(ParseJson, ReadsPythonsInfinityOutsideStringsOnly) {
  const Json json =
      parse_json(R"({"a": -Infinity, "b": Infinity, "c": "-Infinity \" Infinity"})", "f");
  EXPECT_EQ(json["a"], -1e308);
  EXPECT_EQ(json["b"], 1e308);
  EXPECT_EQ(json["c"], "-Infinity \" Infinity");
}

TEST(Config, MissingAndNullMeanTheDefault) {
  const Config c = config(R"({"null": null, "five": 5})");
  EXPECT_EQ(c.integer("absent", 7, {0, 9}), 7);
  EXPECT_EQ(c.integer("null", 7, {0, 9}), 7);
  EXPECT_EQ(c.integer("five", 7, {0, 9}), 5);
  EXPECT_TRUE(c.boolean("null", true));
  EXPECT_EQ(c.text("null", "x"), "x");
  EXPECT_FALSE(c.has("null"));
}

TEST(Config, ScalarStandsForEveryBlockAndListsMustFit) {
  const Config c = config(R"({"one": 8, "three": [1, 2, 3]})");
  EXPECT_THAT(c.integer_per_block("one", 1, 3, {1, 9}), ElementsAre(8, 8, 8));
  EXPECT_THAT(c.integer_per_block("three", 1, 3, {1, 9}), ElementsAre(1, 2, 3));
  EXPECT_THAT(c.integer_per_block("absent", 4, 2, {1, 9}), ElementsAre(4, 4));
  EXPECT_THROW(c.integer_per_block("three", 1, 2, {1, 9}), Error);
}

TEST(Config, TypeAndRangeErrorsNameFileKeyAndValue) {
  const Config c = config(R"({"i": "8", "f": 8.5, "b": 1, "s": 3, "n": true, "big": 99,
                             "huge": 18446744073709551615, "l": [1, "x"], "e": []})");
  const auto message = [](auto&& action) { return std::string(error_of(action).what()); };
  EXPECT_THAT(message([&] {
                c.integer("i", 0, {0, 9});
              }),
              ::testing::AllOf(HasSubstr("c.json: i is"), HasSubstr("integer")));
  EXPECT_THAT(message([&] { c.integer("f", 0, {0, 9}); }), HasSubstr("integer"));
  EXPECT_THAT(message([&] { c.integer("n", 0, {0, 9}); }), HasSubstr("integer"));
  EXPECT_THAT(message([&] { c.integer("big", 0, {0, 9}); }), HasSubstr("'99'"));
  EXPECT_THAT(message([&] { c.integer("huge", 0, {0, INT64_MAX}); }), HasSubstr("between"));
  EXPECT_THAT(message([&] { c.boolean("b", false); }), HasSubstr("true or false"));
  EXPECT_THAT(message([&] { c.text("s", ""); }), HasSubstr("string"));
  EXPECT_THAT(message([&] { c.number("i", 0, {0, 9}); }), HasSubstr("number"));
  EXPECT_THAT(message([&] { c.integers("l", {}, {0, 9}, 4); }), HasSubstr("integer"));
  EXPECT_THAT(message([&] { c.integers("e", {}, {0, 9}, 4); }), HasSubstr("1 to 4"));
  EXPECT_EQ(error_of([] { config("[1]"); }).code(), ErrorCode::kCorrupt);
}

constexpr std::string_view kStableDiffusionUnet = R"({
  "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.6.0", "act_fn": "silu",
  "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280],
  "center_input_sample": false, "cross_attention_dim": 768,
  "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D",
                       "DownBlock2D"],
  "downsample_padding": 1, "flip_sin_to_cos": true, "freq_shift": 0, "in_channels": 4,
  "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-05, "norm_num_groups": 32,
  "out_channels": 4, "sample_size": 64, "upcast_attention": null,
  "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D",
                     "CrossAttnUpBlock2D"]})";

TEST(UNetConfig, ReadsStableDiffusion15) {
  const UNetConfig unet = read_unet_config(config(kStableDiffusionUnet));
  EXPECT_THAT(unet.block_out_channels, ElementsAre(320, 640, 1280, 1280));
  EXPECT_THAT(unet.heads, ElementsAre(8, 8, 8, 8));  // attention_head_dim is the head count
  EXPECT_THAT(unet.down_attention, ElementsAre(true, true, true, false));
  EXPECT_THAT(unet.up_attention, ElementsAre(false, true, true, true));
  EXPECT_THAT(unet.cross_attention_dim, ElementsAre(768, 768, 768, 768));
  EXPECT_EQ(unet.sample_height, 64);
  EXPECT_FALSE(unet.motion.has_value());
}

TEST(UNetConfig, EmptyConfigMeansClassDefaults) {
  const UNetConfig unet = read_unet_config(config(R"({"_class_name": "UNetMotionModel"})"));
  EXPECT_THAT(unet.block_out_channels, ElementsAre(320, 640, 1280, 1280));
  EXPECT_EQ(unet.cross_attention_dim.front(), 1280);
  ASSERT_TRUE(unet.motion.has_value());
  EXPECT_TRUE(unet.motion->use_mid_block);
  EXPECT_EQ(unet.motion->max_seq_length, 32);
  EXPECT_THAT(unet.motion->heads, ElementsAre(8, 8, 8, 8));
}

TEST(UNetConfig, NumAttentionHeadsWinsOverTheMisnamedKey) {
  const UNetConfig unet = read_unet_config(config(
      R"({"_class_name": "UNet2DConditionModel", "attention_head_dim": [5, 10, 20, 20],
          "num_attention_heads": null})"));
  EXPECT_THAT(unet.heads, ElementsAre(5, 10, 20, 20));
  const UNetConfig set = read_unet_config(config(
      R"({"_class_name": "UNet2DConditionModel", "attention_head_dim": 64,
          "num_attention_heads": 4})"));
  EXPECT_THAT(set.heads, ElementsAre(4, 4, 4, 4));
}

TEST(UNetConfig, UpPathMirrorsTheDownPathUnlessGivenItsOwnValues) {
  const UNetConfig mirrored = read_unet_config(config(
      R"({"_class_name": "UNetMotionModel", "transformer_layers_per_block": [1, 2, 3, 4],
          "motion_num_attention_heads": [1, 2, 4, 8]})"));
  EXPECT_THAT(mirrored.up_transformer_layers, ElementsAre(4, 3, 2, 1));
  EXPECT_THAT(mirrored.motion->up_heads, ElementsAre(8, 4, 2, 1));
  EXPECT_EQ(mirrored.motion->mid_heads, 8);
  EXPECT_EQ(mirrored.mid_transformer_layers, 4);
  const UNetConfig own = read_unet_config(config(
      R"({"_class_name": "UNetMotionModel", "sample_size": [40, 64],
          "reverse_temporal_transformer_layers_per_block": [1, 2, 3, 4]})"));
  EXPECT_THAT(own.motion->up_transformer_layers, ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(own.sample_height, 40);
  EXPECT_EQ(own.sample_width, 64);
}

TEST(UNetConfig, MergesAMotionAdapterAsDiffusersDoes) {
  const UNetConfig base = read_unet_config(config(kStableDiffusionUnet));
  const MotionConfig adapter = read_motion_adapter_config(config(
      R"({"_class_name": "MotionAdapter", "motion_max_seq_length": 24, "motion_norm_num_groups": 16,
          "use_motion_mid_block": false, "motion_num_attention_heads": 4})"));
  const UNetConfig merged = with_motion(base, adapter, "adapter/config.json");
  EXPECT_EQ(merged.motion->max_seq_length, 24);
  EXPECT_FALSE(merged.motion->use_mid_block);
  EXPECT_THAT(merged.motion->heads, ElementsAre(4, 4, 4, 4));
  EXPECT_EQ(merged.norm_num_groups, 32);  // the adapter's groups are ignored
}

TEST(UNetConfig, RefusesAnAdapterForAnotherBaseModel) {
  const UNetConfig base = read_unet_config(config(kStableDiffusionUnet));
  const auto merge = [&](std::string_view adapter) {
    return std::string(error_of([&] {
                         with_motion(base, read_motion_adapter_config(config(adapter)), "a.json");
                       }).what());
  };
  EXPECT_THAT(merge(R"({"block_out_channels": [320, 640, 1280]})"),
              HasSubstr("[320, 640, 1280], the U-Net's [320, 640, 1280, 1280]"));
  EXPECT_THAT(merge(R"({"motion_layers_per_block": 3})"), HasSubstr("layers per block"));
  const UNetConfig motion = read_unet_config(config(R"({"_class_name": "UNetMotionModel"})"));
  EXPECT_THROW(with_motion(motion, read_motion_adapter_config(config("{}")), "a.json"), Error);
}

struct Hostile {
  const char* name;
  const char* text;
  ErrorCode code;
  const char* message;
};

class HostileUNet : public ::testing::TestWithParam<Hostile> {};

TEST_P(HostileUNet, IsRefusedNamingTheKey) {
  const Error error = error_of([] { read_unet_config(config(GetParam().text)); });
  EXPECT_EQ(error.code(), GetParam().code);
  EXPECT_THAT(error.what(), HasSubstr(GetParam().message));
  EXPECT_THAT(error.what(), HasSubstr("c.json"));
}

constexpr auto kBad = ErrorCode::kInvalidArgument;
constexpr auto kNot = ErrorCode::kUnsupported;
INSTANTIATE_TEST_SUITE_P(
    Each, HostileUNet,
    ::testing::Values(
        Hostile{"UnknownClass", R"({"_class_name": "UNet3DConditionModel"})", kNot, "_class_name"},
        Hostile{"ZeroChannels", R"({"block_out_channels": [0, 640, 1280, 1280]})", kBad,
                "block_out_channels"},
        Hostile{"NegativeChannels", R"({"block_out_channels": [-320, 640, 1280, 1280]})", kBad,
                "block_out_channels"},
        Hostile{"HugeChannels", R"({"block_out_channels": [4611686018427387904, 640, 1280, 1280]})",
                kBad, "between 1 and 16384"},
        Hostile{"ManyBlocks", R"({"block_out_channels": [32,32,32,32,32,32,32,32,32]})", kBad,
                "1 to 8"},
        Hostile{"EmptyBlocks", R"({"block_out_channels": []})", kBad, "block_out_channels"},
        Hostile{"OddFirstChannels", R"({"block_out_channels": [35, 70, 70, 70],
                "norm_num_groups": 5, "attention_head_dim": 5})",
                kBad, "even"},
        Hostile{"GroupsDoNotDivide", R"({"norm_num_groups": 33})", kBad, "norm_num_groups"},
        Hostile{"ZeroGroups", R"({"norm_num_groups": 0})", kBad, "norm_num_groups"},
        Hostile{"HeadsDoNotDivide", R"({"attention_head_dim": 7})", kBad, "7 heads"},
        Hostile{"ZeroHeads", R"({"attention_head_dim": 0})", kBad, "attention_head_dim"},
        Hostile{"ListOfWrongLength", R"({"attention_head_dim": [8, 8]})", kBad, "4 blocks"},
        Hostile{"BlockTypesOfWrongLength", R"({"down_block_types": ["DownBlock2D"]})", kBad,
                "down_block_types"},
        Hostile{"UnknownBlock", R"({"down_block_types": ["AttnDownBlock2D"]})", kNot,
                "AttnDownBlock2D"},
        Hostile{"MotionBlockIn2D", R"({"down_block_types": ["DownBlockMotion"]})", kNot,
                "DownBlockMotion"},
        Hostile{"StringChannels", R"({"in_channels": "4"})", kBad, "in_channels"},
        Hostile{"NegativeEps", R"({"norm_eps": -1e-5})", kBad, "norm_eps"},
        Hostile{"UnknownActivation", R"({"act_fn": "mish"})", kNot, "act_fn"},
        Hostile{"SineFirst", R"({"flip_sin_to_cos": false})", kNot, "flip_sin_to_cos"},
        Hostile{"FrequencyShift", R"({"freq_shift": 1})", kNot, "freq_shift"},
        Hostile{"AdditionEmbedding", R"({"addition_embed_type": "text_time"})", kNot,
                "addition_embed_type"},
        Hostile{"ClassEmbedding", R"({"num_class_embeds": 1000})", kNot, "num_class_embeds"},
        Hostile{"TimeCondition", R"({"time_cond_proj_dim": 256})", kNot, "time_cond_proj_dim"},
        Hostile{"NestedLayers", R"({"transformer_layers_per_block": [[1],[1],[1],[1]]})", kNot,
                "transformer_layers_per_block"},
        Hostile{"ZeroFrames", R"({"_class_name":"UNetMotionModel","motion_max_seq_length": 0})",
                kBad, "motion_max_seq_length"},
        Hostile{"MotionHeads",
                R"({"_class_name":"UNetMotionModel","motion_num_attention_heads":3})", kBad,
                "motion_num_attention_heads"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(AutoencoderConfig, ReadsStableDiffusion15AndItsDefaults) {
  const VaeConfig vae = read_vae_config(config(R"({
    "_class_name": "AutoencoderKL", "act_fn": "silu", "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D",
                         "DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D",
                       "UpDecoderBlock2D"],
    "latent_channels": 4, "layers_per_block": 2, "sample_size": 512})"));
  EXPECT_THAT(vae.block_out_channels, ElementsAre(128, 256, 512, 512));
  EXPECT_TRUE(vae.use_quant_conv && vae.use_post_quant_conv && vae.mid_block_add_attention);
  EXPECT_EQ(vae.scaling_factor, 0.18215);
}

TEST(AutoencoderConfig, RefusesWhatItCannotDecode) {
  const auto refused = [](std::string_view text) {
    return std::string(error_of([&] { read_vae_config(config(text)); }).what());
  };
  EXPECT_THAT(refused(R"({"_class_name": "AsymmetricAutoencoderKL"})"), HasSubstr("_class_name"));
  EXPECT_THAT(refused(R"({"block_out_channels": [64, 64]})"), HasSubstr("2 blocks"));
  EXPECT_THAT(refused(R"({"block_out_channels": [33]})"), HasSubstr("norm_num_groups"));
  EXPECT_THAT(refused(R"({"scaling_factor": 0})"), HasSubstr("scaling_factor"));
  EXPECT_THAT(refused(R"({"latents_mean": [0.1, 0.2]})"), HasSubstr("latents_mean"));
  EXPECT_THAT(refused(R"({"down_block_types": ["AttnDownEncoderBlock2D"]})"),
              HasSubstr("DownEncoderBlock2D"));
}

TEST(TinyAutoencoderConfig, HasTaesdAsItsDefaultAndChecksItsLists) {
  const TinyVaeConfig vae = read_tiny_vae_config(config(R"({"_class_name": "AutoencoderTiny"})"));
  EXPECT_THAT(vae.num_encoder_blocks, ElementsAre(1, 3, 3, 3));
  EXPECT_THAT(vae.num_decoder_blocks, ElementsAre(3, 3, 3, 1));
  EXPECT_EQ(vae.scaling_factor, 1);
  EXPECT_THAT(
      error_of([] { read_tiny_vae_config(config(R"({"num_decoder_blocks": [1]})")); }).what(),
      HasSubstr("num_decoder_blocks"));
  EXPECT_THAT(error_of([] { read_tiny_vae_config(config(R"({"act_fn": "gelu"})")); }).what(),
              HasSubstr("act_fn"));
}

TEST(TinyAutoencoderConfig, AllowsStagesThatAreAConvolutionAlone) {
  const TinyVaeConfig vae = read_tiny_vae_config(config(R"({
    "encoder_block_out_channels": [32, 32, 32, 32, 32], "num_encoder_blocks": [0, 1, 2, 2, 2],
    "decoder_block_out_channels": [32, 32, 32, 32, 32], "num_decoder_blocks": [3, 3, 2, 1, 0]})"));
  EXPECT_THAT(vae.num_encoder_blocks, ElementsAre(0, 1, 2, 2, 2));
  EXPECT_THAT(vae.num_decoder_blocks, ElementsAre(3, 3, 2, 1, 0));
  EXPECT_THAT(error_of([] {
                read_tiny_vae_config(config(R"({"num_encoder_blocks": [-1, 3, 3, 3]})"));
              }).what(),
              HasSubstr("num_encoder_blocks"));
}

TEST(ClipTextConfig, ReadsBothActivationsAndRefusesOthers) {
  const ClipTextConfig clip = read_clip_text_config(config(R"({
    "architectures": ["CLIPTextModel"], "hidden_size": 768, "num_attention_heads": 12,
    "num_hidden_layers": 12, "intermediate_size": 3072, "hidden_act": "gelu"})"));
  EXPECT_EQ(clip.hidden_size, 768);
  EXPECT_EQ(clip.activation, TextActivation::kGelu);
  EXPECT_EQ(clip.max_position_embeddings, 77);
  EXPECT_EQ(read_clip_text_config(config("{}")).activation, TextActivation::kQuickGelu);
  EXPECT_THROW(read_clip_text_config(config(R"({"hidden_act": "relu"})")), Error);
  EXPECT_THROW(read_clip_text_config(config(R"({"num_attention_heads": 7})")), Error);
}

TEST(MotionAdapterConfig, RefusesInputReplacingAdapters) {
  EXPECT_THAT(
      error_of([] { read_motion_adapter_config(config(R"({"conv_in_channels": 9})")); }).what(),
      HasSubstr("PIA"));
}

}  // namespace
}  // namespace seamwright::model
