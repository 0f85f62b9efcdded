#include "tests/unit/model/network_parity.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "model/model_parts.h"
#include "model/nets/vae.h"
#include "model/safetensors.h"

namespace seamwright::model::testing_support {
namespace {

// Reference results of one network.
class Expected {
 public:
  explicit Expected(const std::string& name)
      : file_(std::string(SEAMWRIGHT_FIXTURES) + "/networks/" + name + ".safetensors") {}

  bool has(const std::string& name) const { return file_.find(name) != nullptr; }
  const StoredTensor& at(const std::string& name) const {
    const StoredTensor* tensor = file_.find(name);
    ensure(tensor != nullptr, "the fixture has no {}", name);
    return *tensor;
  }
  // [N, C, H, W] as stored -> host f32 [N, H, W, C].
  Tensor channels_last(const std::string& name) const {
    const ConstView from = at(name).view();
    const Shape& s = from.shape;
    Tensor to(heap(), DType::kF32, {s[0], s[2], s[3], s[1]});
    for (std::int64_t i = 0; i < from.elements(); ++i) {
      const std::int64_t p = i % (s[2] * s[3]), c = i / (s[2] * s[3]) % s[1],
                         n = i / (s[1] * s[2] * s[3]);
      to.view().as<float>()[(n * s[2] * s[3] + p) * s[1] + c] = from.as<float>()[i];
    }
    return to;
  }
  // Values in channels-last order where the tensor is a picture.
  std::vector<double> values(const std::string& name) const {
    const Tensor picture = at(name).shape.rank() == 4 ? channels_last(name) : Tensor();
    const ConstView view = picture ? static_cast<ConstView>(picture) : at(name).view();
    return {view.as<float>(), view.as<float>() + view.elements()};
  }

 private:
  SafetensorsFile file_;
};

class Trial {
 public:
  explicit Trial(const std::tuple<ContractParam, std::string>& param)
      : backend(std::get<0>(param).make()),
        exec{*backend, backend->memory()},
        name(std::get<1>(param)),
        folder(std::string(SEAMWRIGHT_FIXTURES) + "/checkpoints/" + name),
        tolerance_(std::get<0>(param).tolerance) {}

  // True where the block agrees.
  bool compare(const Expected& expected, const std::string& what, ConstView got) {
    const auto want = expected.values(what);
    const auto values = values_of(*backend, got);
    if (values.size() != want.size()) {
      ADD_FAILURE() << name << " " << what << ": " << got.shape.to_string() << " against "
                    << expected.at(what).shape.to_string();
      return false;
    }
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < want.size(); ++i) {
      error += (values[i] - want[i]) * (values[i] - want[i]);
      norm += want[i] * want[i];
    }
    const double relative = std::sqrt(error / norm);
    EXPECT_LE(relative, tolerance_) << name << " " << what;
    worst = std::max(worst, relative);
    return relative <= tolerance_;
  }

  std::unique_ptr<Backend> backend;
  Exec exec;
  std::string name;
  std::filesystem::path folder;
  double worst = 0;

 private:
  double tolerance_;
};

TEST_P(NetworkParity, UNetAgreesBlockByBlock) {
  Trial run(GetParam());
  const Expected expected(run.name + "-unet");
  const auto built = build_denoiser(open_denoiser(run.folder, {}), *run.backend);
  const UNet& unet = *built.network;
  Tensor embeddings(heap(), DType::kF32, {1, 77, expected.at("context").shape[1]});
  const auto context_values = expected.values("context");
  std::ranges::copy(context_values, embeddings.view().as<float>());
  PromptContext context(std::move(embeddings));
  const auto timestep = static_cast<float>(*expected.at("timestep").view().as<std::int64_t>());
  const Tensor sample = ops::upload(run.exec, expected.channels_last("sample"));
  Activations activations;
  activations.borrow("sample", sample);
  DenoiseInput input{.timestep = timestep,
                     .context = &context,
                     .height = sample.shape()[1],
                     .width = sample.shape()[2]};
  std::size_t compared = 0;
  for (std::size_t i = 0; i < unet.blocks().size(); ++i) {
    const BlockInfo& block = unet.blocks()[i];
    unet.run(run.exec, i, i + 1, input, activations);
    const bool last = i + 1 == unet.blocks().size();
    const std::string what = last ? "output" : "act." + block.name;
    ASSERT_TRUE(expected.has(what)) << what;
    // One wrong block makes all later ones wrong: name the first only.
    ASSERT_TRUE(run.compare(expected, what, activations.get(block.writes[0])));
    ++compared;
  }
  EXPECT_EQ(compared, unet.blocks().size());
  RecordProperty("worst_relative_error", fmt::format("{:.2e}", run.worst));
}

TEST_P(NetworkParity, VaeEncodesAndDecodes) {
  Trial run(GetParam());
  const Expected expected(run.name + "-vae");
  const CodecFiles files = open_codec(run.folder, {});
  const auto built = build_codec(files, *run.backend);
  const Tensor image = ops::upload(run.exec, expected.channels_last("image"));
  Tensor latent = ops::upload(run.exec, expected.channels_last("latent"));
  if (const auto* kl = dynamic_cast<const AutoencoderKL*>(built.network.get())) {
    run.compare(expected, "moments", kl->moments(run.exec, image));
    const double factor = std::get<VaeConfig>(files.config).scaling_factor;
    latent = ops::affine(run.exec, factor, 0, latent);
  } else {
    run.compare(expected, "encoded", built.network->encode(run.exec, image));
  }
  run.compare(expected, "output", built.network->decode(run.exec, latent));
  EXPECT_EQ(built.network->scale(), image.shape()[1] / latent.shape()[1]);
}

TEST_P(NetworkParity, TextEncoderAgrees) {
  Trial run(GetParam());
  const Expected expected(run.name + "-text");
  const auto built = build_text(open_text(run.folder), *run.backend);
  const ConstView ids = expected.at("input_ids").view();
  const ConstView want = expected.at("output").view();
  for (std::int64_t row = 0; row < ids.shape[0]; ++row) {
    std::vector<std::int32_t> tokens;
    for (std::int64_t i = 0; i < ids.shape[1]; ++i) {
      tokens.push_back(static_cast<std::int32_t>(ids.slice(row, 1).as<std::int64_t>()[i]));
    }
    const auto got = values_of(*run.backend, (*built.network)(run.exec, tokens));
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      const double w = want.slice(row, 1).as<float>()[i];
      error += (got[i] - w) * (got[i] - w);
      norm += w * w;
    }
    EXPECT_LE(std::sqrt(error / norm), std::get<0>(GetParam()).tolerance) << "prompt " << row;
  }
}

}  // namespace

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(NetworkParity);

}  // namespace seamwright::model::testing_support
