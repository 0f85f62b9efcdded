// Every tensor matters: changing one element of any tensor moves the output by more than ten times
// the tolerance of the golden tests, so none is read and then forgotten.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "model/reference/reference.h"
#include "tests/unit/model/tiny_networks.h"

namespace seamwright::model::testing_support {
namespace {

constexpr double kTolerance = 1e-6;  // of golden_test.cpp

double largest_change(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

// Softmax does not see what is added to all its scores, which is all a key's bias does.
bool invisible(const std::string& name) {
  return name.ends_with("to_k.bias") || name.ends_with("k_proj.bias");
}

void expect_every_tensor_matters(const TinyNetwork& network) {
  const auto backend = make_reference_backend();
  FormulaLoad plain(*backend);
  const auto baseline = network(plain);
  const auto names = plain.source.names();
  ASSERT_FALSE(names.empty());
  for (const auto& name : names) {
    const std::int64_t elements = plain.source.find(name)->elements();
    double change = 0;
    // ReLU hides elements that meet a dead channel; it cannot hide elements all over the tensor.
    const std::int64_t stride = std::max<std::int64_t>(1, elements / 23);
    for (std::int64_t index = elements / 2; index < elements + elements / 2; index += stride) {
      FormulaLoad load(*backend);
      load.source.perturb(name, index % elements, 0.25);
      change = std::max(change, largest_change(network(load), baseline));
      if (change > 10 * kTolerance) break;
    }
    if (invisible(name)) {
      EXPECT_LE(change, kTolerance) << name;
    } else {
      EXPECT_GT(change, 10 * kTolerance) << name;
    }
  }
}

std::vector<double> small_unet(FormulaLoad& load, UNetConfig config, NormExtent norm) {
  // With one channel per group, a norm would erase every bias before it.
  config.norm_num_groups = 4;
  const UNet unet(config, load.context, nullptr, {.motion_norm = norm});
  Exec exec{load.context.backend, heap()};
  PromptContext context = fixture_context(1);
  const Tensor sample = ops::upload(exec, fixture_input({4, 3, 4, 4}));
  return values_of(exec.backend, unet.predict(exec, sample, {.timestep = 10, .context = &context}));
}

TEST(Perturbation, EveryTensorOfTheUNetMatters) {
  expect_every_tensor_matters([](FormulaLoad& load) {
    return small_unet(load, tiny_unet_motion(true), NormExtent::kAcrossFrames);
  });
}

TEST(Perturbation, EveryTensorOfTheUNetMattersWithPerFrameNorm) {
  expect_every_tensor_matters([](FormulaLoad& load) {
    return small_unet(load, tiny_unet_motion(false), NormExtent::kPerFrame);
  });
}

TEST(Perturbation, EveryTensorOfTheVaeMatters) {
  expect_every_tensor_matters([](FormulaLoad& load) {
    const AutoencoderKL vae(load.context, tiny_vae());
    Exec exec{load.context.backend, heap()};
    const Tensor image = ops::upload(exec, fixture_input({3, 1, 8, 8}));
    auto values = values_of(exec.backend, vae.moments(exec, image));
    const Tensor latent = ops::upload(exec, fixture_input({4, 1, 4, 4}));
    const auto pixels = values_of(exec.backend, vae.decode(exec, latent));
    values.insert(values.end(), pixels.begin(), pixels.end());
    return values;
  });
}

TEST(Perturbation, EveryTensorOfTheTinyVaeMatters) {
  expect_every_tensor_matters([](FormulaLoad& load) {
    const AutoencoderTiny vae(load.context, tiny_taesd());
    Exec exec{load.context.backend, heap()};
    const Tensor image = ops::upload(exec, fixture_input({3, 1, 8, 8}));
    auto values = values_of(exec.backend, vae.encode(exec, image));
    const Tensor latent = ops::upload(exec, fixture_input({4, 1, 4, 4}));
    const auto pixels = values_of(exec.backend, vae.decode(exec, latent));
    values.insert(values.end(), pixels.begin(), pixels.end());
    return values;
  });
}

TEST(Perturbation, EveryTensorOfTheTextEncoderMatters) {
  for (TextActivation activation : {TextActivation::kQuickGelu, TextActivation::kGelu}) {
    expect_every_tensor_matters([=](FormulaLoad& load) {
      const ClipText clip(load.context, tiny_clip(activation));
      Exec exec{load.context.backend, heap()};
      const std::vector<std::int32_t> ids = {0, 10, 3, 19, 19, 5, 1, 2, 4};
      return values_of(exec.backend, clip(exec, ids));
    });
  }
}

// A source that has a position table of its own.
class WithTable final : public WeightSource {
 public:
  WithTable(std::int64_t frames, double added) : table_(heap(), DType::kF64, {1, frames, 8}) {
    for (std::int64_t i = 0; i < table_.shape().elements(); ++i) {
      table_.view().as<double>()[i] = std::cos(static_cast<double>(i)) + (i == 3 ? added : 0);
    }
  }
  std::optional<ConstView> find(std::string_view name) const override {
    return name.ends_with("pe") ? std::optional<ConstView>(table_) : formula_.find(name);
  }
  std::optional<ConstView> find_as(std::string_view name, const Shape& shape) const override {
    return name.ends_with("pe") ? find(name) : formula_.find_as(name, shape);
  }
  std::vector<std::string> names() const override { return formula_.names(); }
  std::string description() const override { return "weights with a position table"; }

 private:
  FormulaSource formula_;
  Tensor table_;
};

TEST(Perturbation, PositionsOfTheCheckpointAreUsedAndSetTheLimit) {
  const auto backend = make_reference_backend();
  Exec exec{*backend, heap()};
  std::vector<std::vector<double>> results;
  for (double added : {0.0, 0.25}) {
    const WithTable source(6, added);
    WeightLedger ledger(source);
    LoadContext load{ledger, *backend};
    const MotionModule module(Scope{load, ""}, {8, 4, 2, 1, 32, NormExtent::kAcrossFrames});
    EXPECT_EQ(module.max_frames(), 6);
    results.push_back(
        values_of(*backend, module(exec, ops::upload(exec, fixture_input({8, 6, 3, 2})))));
    try {
      module(exec, ops::upload(exec, fixture_input({8, 7, 3, 2})));
      ADD_FAILURE() << "a window over the limit was accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
    }
  }
  EXPECT_GT(largest_change(results[0], results[1]), 10 * kTolerance);
}

}  // namespace
}  // namespace seamwright::model::testing_support
