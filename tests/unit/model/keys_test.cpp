// Full-size public architectures: every tensor name and shape is claimed, none is left over.
#include <gtest/gtest.h>

#include <fstream>
#include <numeric>
#include <sstream>

#include "model/dry/dry_backend.h"
#include "model/dry/shape_source.h"
#include "model/nets/unet.h"
#include "model/nets/vae.h"
#include "model/nets/vae_tiny.h"

namespace seamwright::model {
namespace {

using Shapes = std::map<std::string, Shape, std::less<>>;

// Lines of "name [4, 4, 3, 3]".
Shapes read_keys(const std::string& name) {
  std::ifstream file(std::string(SEAMWRIGHT_FIXTURES) + "/keys/keys_" + name + ".txt");
  EXPECT_TRUE(file.is_open()) << name;
  Shapes shapes;
  for (std::string line; std::getline(file, line);) {
    const auto space = line.find_first_of(" \t");
    std::string digits = line.substr(space);
    for (char& c : digits) c = std::isdigit(static_cast<unsigned char>(c)) ? c : ' ';
    std::istringstream in(digits);
    std::vector<std::int64_t> dims;
    for (std::int64_t d = 0; in >> d;) dims.push_back(d);
    shapes.emplace(line.substr(0, space), Shape(dims));
  }
  EXPECT_FALSE(shapes.empty()) << name;
  return shapes;
}

UNetConfig with_adapter(bool mid, std::int64_t frames) {
  UNetConfig config;
  config.motion.emplace();
  config.motion->use_mid_block = mid;
  config.motion->max_seq_length = frames;
  return config;
}

struct Loaded {
  explicit Loaded(Shapes shapes, DryBackend& backend)
      : source(std::move(shapes), "keys"), ledger(source), context{ledger, backend} {}
  ShapeSource source;
  WeightLedger ledger;
  LoadContext context;
};

class Keys : public ::testing::Test {
 protected:
  std::unique_ptr<DryBackend> backend_ = make_dry_backend();
};

TEST_F(Keys, StableDiffusionUNetIsClaimedWithoutMotion) {
  Loaded unet(read_keys("unet2d_sd15"), *backend_);
  const UNet model(UNetConfig{}, unet.context, nullptr);
  EXPECT_NO_THROW(unet.ledger.expect_all_claimed());
  EXPECT_EQ(unet.context.parameters, 859'520'964);
}

TEST_F(Keys, EveryAdapterIsClaimedBesideItsUNet) {
  struct Case {
    const char* keys;
    bool mid;
    std::int64_t frames, parameters;
  };
  for (const Case& c :
       {Case{"adapter_v1", false, 24, 417'137'600}, Case{"adapter_v2", true, 32, 453'209'280},
        Case{"adapter_v3", false, 32, 417'137'600}}) {
    SCOPED_TRACE(c.keys);
    Loaded unet(read_keys("unet2d_sd15"), *backend_);
    Loaded adapter(read_keys(c.keys), *backend_);
    // The config's limit differs on purpose: the tables in the file are what counts.
    const UNet model(with_adapter(c.mid, 7), unet.context, &adapter.context);
    EXPECT_NO_THROW(unet.ledger.expect_all_claimed());
    EXPECT_NO_THROW(adapter.ledger.expect_all_claimed());
    EXPECT_EQ(unet.context.parameters, 859'520'964);
    EXPECT_EQ(adapter.context.parameters, c.parameters);
    EXPECT_EQ(model.max_window(), c.frames);
  }
}

TEST_F(Keys, UNetMotionModelIsClaimed) {
  Loaded unet(read_keys("unetmotion_sd15_v2"), *backend_);
  const UNet model(with_adapter(true, 32), unet.context, nullptr);
  EXPECT_NO_THROW(unet.ledger.expect_all_claimed());
  EXPECT_EQ(unet.context.parameters, 1'312'730'244);
}

TEST_F(Keys, VaesAreClaimed) {
  Loaded vae(read_keys("vae_sd15"), *backend_);
  const AutoencoderKL kl(vae.context, {});
  EXPECT_NO_THROW(vae.ledger.expect_all_claimed());
  EXPECT_EQ(vae.context.parameters, 83'653'863);

  Loaded tiny(read_keys("taesd"), *backend_);
  const AutoencoderTiny taesd(tiny.context, {});
  EXPECT_NO_THROW(tiny.ledger.expect_all_claimed());
  EXPECT_EQ(tiny.context.parameters, 2'445'063);
}

TEST_F(Keys, OldVaeAttentionNamesAreClaimed) {
  Shapes shapes;
  for (auto& [name, shape] : read_keys("vae_sd15")) {
    std::string renamed = name;
    for (const auto& [now, before] : {std::pair{"to_q", "query"},
                                      {"to_k", "key"},
                                      {"to_v", "value"},
                                      {"to_out.0", "proj_attn"}}) {
      const auto at = renamed.find(now);
      if (at != std::string::npos) renamed.replace(at, std::strlen(now), before);
    }
    // The original checkpoints store these projections as 1x1 convolutions.
    shapes.emplace(renamed, renamed.find("query.weight") != std::string::npos
                                ? Shape{shape[0], shape[1], 1, 1}
                                : shape);
  }
  Loaded vae(std::move(shapes), *backend_);
  const AutoencoderKL kl(vae.context, {});
  EXPECT_NO_THROW(vae.ledger.expect_all_claimed());
}

TEST_F(Keys, MissingSurplusAndMisshapenTensorsAreNamed) {
  const auto message = [&](auto&& change) -> std::string {
    Shapes shapes = read_keys("unet2d_sd15");
    change(shapes);
    Loaded unet(std::move(shapes), *backend_);
    try {
      const UNet model(UNetConfig{}, unet.context, nullptr);
      unet.ledger.expect_all_claimed();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kCorrupt);
      return e.what();
    }
    return "nothing was thrown";
  };
  const std::string name = "up_blocks.2.attentions.1.transformer_blocks.0.attn2.to_k.weight";
  EXPECT_NE(message([&](Shapes& s) { s.erase(name); }).find(name), std::string::npos);
  EXPECT_NE(
      message([&](Shapes& s) { s.emplace("surplus.weight", Shape{3}); }).find("surplus.weight"),
      std::string::npos);
  const std::string shape = message([&](Shapes& s) { s[name] = Shape{640, 1024}; });
  EXPECT_NE(shape.find("[640, 1024]"), std::string::npos) << shape;
  EXPECT_NE(shape.find("[640, 768]"), std::string::npos) << shape;
}

// The design's envelope: 4.04 TFLOP for 16 frames at 256x256 with v3, 17.6 at 512x512.
TEST_F(Keys, FullSizeForwardHasTheKnownCost) {
  Loaded unet(read_keys("unet2d_sd15"), *backend_);
  Loaded adapter(read_keys("adapter_v3"), *backend_);
  const UNet model(with_adapter(false, 32), unet.context, &adapter.context);
  CountingAllocator memory;
  Exec exec{*backend_, memory};
  for (const auto& [side, tera] : {std::pair{32, 4.04}, {64, 17.6}}) {
    PromptContext context(Tensor(heap(), DType::kF32, {1, 77, 768}));
    const Tensor sample(memory, DType::kF32, {16, side, side, 4});
    const Tensor y = model.predict(exec, sample, {.timestep = 1, .context = &context});
    EXPECT_EQ(y.shape(), Shape({16, side, side, 4}));
    double flops = 0;
    for (const auto& op : backend_->take_records()) flops += op.flops;
    EXPECT_NEAR(flops / 1e12, tera, 0.02 * tera);
  }
}

TEST_F(Keys, CutsCarryExactlyWhatIsReadLater) {
  Loaded unet(read_keys("unet2d_sd15"), *backend_);
  Loaded adapter(read_keys("adapter_v3"), *backend_);
  const UNet model(with_adapter(false, 32), unet.context, &adapter.context);
  const auto& blocks = model.blocks();
  ASSERT_EQ(blocks.front().name, "conv_in");
  ASSERT_EQ(blocks.back().name, "conv_out");
  EXPECT_EQ(model.crossing(0), std::vector<std::string>{});
  EXPECT_EQ(model.crossing(1), std::vector<std::string>{"skip.0"});
  for (std::size_t at = 0; at <= blocks.size(); ++at) {
    const std::string next = at < blocks.size() ? blocks[at].name : "";
    if (next == "mid_block.resnets.0") {
      EXPECT_EQ(model.crossing(at).size(), 12U);
    } else if (next == "up_blocks.0.resnets.0") {
      EXPECT_EQ(model.crossing(at).size(), 13U);
    } else if (next == "conv_out") {
      EXPECT_EQ(model.crossing(at), std::vector<std::string>{"h"});
    }
  }
  std::size_t bytes = 0;
  for (const auto& block : blocks) bytes += block.weight_bytes;
  EXPECT_GT(bytes, unet.context.resident_bytes * 9 / 10);  // all but the time embedding
}

}  // namespace
}  // namespace seamwright::model
