// Whole sampling runs against diffusers' AnimateDiffPipeline (tests/fixtures/pipeline): tokenizer,
// text encoder, U-Net with guidance, sampler, VAE, with one window and nothing of the engine.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "model/cpu/cpu_backend.h"
#include "model/reference/reference.h"
#include "model/safetensors.h"
#include "model/sampling/sampler.h"
#include "model/video_model.h"
#include "tests/unit/model/backend_contract.h"

namespace seamwright::model::testing_support {
namespace {

const std::filesystem::path kFixtures = SEAMWRIGHT_FIXTURES;

struct Precision {
  const char* name;
  std::unique_ptr<Backend> (*make)();
  double latents, pixels;  // relative RMS error allowed
};

double relative_error(std::span<const double> got, std::span<const float> want) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    norm += static_cast<double>(want[i]) * want[i];
  }
  return std::sqrt(error / norm);
}

// [F, C, h, w] <-> [F, h, w, C].
std::vector<float> channels_last(std::span<const float> planes, const Shape& shape) {
  std::vector<float> rows(planes.size());
  const std::int64_t area = shape[2] * shape[3];
  for (std::int64_t f = 0; f < shape[0]; ++f) {
    for (std::int64_t c = 0; c < shape[1]; ++c) {
      for (std::int64_t p = 0; p < area; ++p) {
        rows[static_cast<std::size_t>((f * area + p) * shape[1] + c)] =
            planes[static_cast<std::size_t>((f * shape[1] + c) * area + p)];
      }
    }
  }
  return rows;
}

// One request of the fixtures and the run that answers it.
class SamplingRun {
 public:
  SamplingRun(const std::string& name, const Precision& precision)
      : request_(read_json_file(kFixtures / "pipeline" / (name + ".json"))),
        file_(kFixtures / "pipeline" / (name + ".safetensors")),
        backend_(precision.make()),
        exec_{*backend_, backend_->memory()} {
    LoadOptions options;
    options.model = kFixtures / "checkpoints" / request_.at("checkpoint").get<std::string>();
    model_ = VideoModel::load(options, *backend_);
    const auto config = model_->scheduler_config();
    sampler_ = make_sampler(read_sampler_config(config, request_.at("sampler").get<std::string>()),
                            request_.at("steps").get<int>());
    shape_ = stored("latents").shape;
  }

  const StoredTensor& stored(const std::string& name) const {
    const StoredTensor* tensor = file_.find(name);
    ensure(tensor != nullptr, "the fixture has no {}", name);
    return *tensor;
  }
  std::span<const float> values(const std::string& name) const {
    const ConstView view = stored(name).view();
    return {view.as<float>(), static_cast<std::size_t>(view.elements())};
  }
  const Sampler& sampler() const { return *sampler_; }
  const Json& request() const { return request_; }

  // The final latents, [F, C, h, w].
  std::vector<float> sample() {
    const double guidance = request_.at("guidance");
    PromptContext positive = prompt("prompt");
    PromptContext negative = prompt("negative_prompt");
    std::vector<float> x(values("latents").begin(), values("latents").end());
    for (float& v : x) v *= sampler_->init_noise_sigma();
    std::vector<float> history(sampler_->uses_history() ? x.size() : 0);
    for (int k = 0; k < sampler_->steps(); ++k) {
      std::vector<float> scaled(x.size());
      sampler_->scale_input(k, x, scaled);
      std::vector<float> prediction = predict(scaled, k, positive);
      if (guidance > 1) {
        const auto unconditional = predict(scaled, k, negative);
        for (std::size_t i = 0; i < prediction.size(); ++i) {
          prediction[i] =
              unconditional[i] + static_cast<float>(guidance) * (prediction[i] - unconditional[i]);
        }
      }
      std::span<const float> noise;
      if (sampler_->stochastic(k)) noise = values("noise." + std::to_string(k));
      std::vector<float> next(x.size());
      sampler_->step(k, x, prediction, noise, history, next);
      x = std::move(next);
    }
    return x;
  }

  // Pixels of one frame of `latents` as [H, W, 3].
  std::vector<double> decode(std::span<const float> latents, std::int64_t frame) {
    const std::size_t size = latents.size() / static_cast<std::size_t>(shape_[0]);
    const Shape one{1, shape_[1], shape_[2], shape_[3]};
    const auto rows =
        channels_last(latents.subspan(static_cast<std::size_t>(frame) * size, size), one);
    const Tensor latent = upload(rows, {1, shape_[2], shape_[3], shape_[1]});
    return values_of(*backend_, model_->codec().decode(exec_, latent));
  }

 private:
  PromptContext prompt(const std::string& field) {
    return PromptContext(model_->text().encode(exec_, request_.at(field)).embeddings);
  }
  Tensor upload(std::span<const float> rows, const Shape& shape) {
    Tensor host(heap(), DType::kF32, shape);
    std::ranges::copy(rows, host.view().as<float>());
    return ops::upload(exec_, host);
  }
  // [F, C, h, w] in and out.
  std::vector<float> predict(std::span<const float> scaled, int k, PromptContext& context) {
    const Shape last{shape_[0], shape_[2], shape_[3], shape_[1]};
    const Tensor sample = upload(channels_last(scaled, shape_), last);
    const DenoiseInput input{.timestep = sampler_->timestep(k), .context = &context};
    const auto rows = values_of(*backend_, model_->denoiser().predict(exec_, sample, input));
    std::vector<float> planes(rows.size());
    const std::int64_t area = shape_[2] * shape_[3];
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(rows.size()); ++i) {
      const std::int64_t p = i % area, c = i / area % shape_[1], f = i / area / shape_[1];
      planes[static_cast<std::size_t>(i)] =
          static_cast<float>(rows[static_cast<std::size_t>((f * area + p) * shape_[1] + c)]);
    }
    return planes;
  }

  Json request_;
  SafetensorsFile file_;
  std::unique_ptr<Backend> backend_;
  Exec exec_;
  std::unique_ptr<VideoModel> model_;
  std::unique_ptr<Sampler> sampler_;
  Shape shape_;
};

std::vector<std::string> requests() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kFixtures / "pipeline")) {
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem());
  }
  std::ranges::sort(names);
  return names;
}

class PipelineParity : public ::testing::TestWithParam<std::tuple<Precision, std::string>> {};

TEST_P(PipelineParity, FinalLatentsAndPixelsAreDiffusers) {
  const auto& [precision, name] = GetParam();
  SamplingRun run(name, precision);
  const auto& timesteps = run.request().at("timesteps");
  ASSERT_EQ(timesteps.size(), static_cast<std::size_t>(run.sampler().steps()));
  for (int k = 0; k < run.sampler().steps(); ++k) {
    EXPECT_FLOAT_EQ(run.sampler().timestep(k), timesteps[static_cast<std::size_t>(k)]) << k;
  }
  const auto latents = run.sample();
  const double error = relative_error(std::vector<double>(latents.begin(), latents.end()),
                                      run.values("final_latents"));
  EXPECT_LE(error, precision.latents);
  const auto pixels = run.stored("decoded");
  const auto rows = channels_last(run.values("decoded"), pixels.shape);
  const std::size_t size = rows.size() / static_cast<std::size_t>(pixels.shape[0]);
  double worst = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(pixels.shape[0]); ++i) {
    const std::int64_t frame = run.request().at("decoded_frames")[i];
    worst = std::max(
        worst, relative_error(run.decode(latents, frame), std::span(rows).subspan(i * size, size)));
  }
  EXPECT_LE(worst, precision.pixels);
  RecordProperty("latents", fmt::format("{:.2e}", error));
  RecordProperty("pixels", fmt::format("{:.2e}", worst));
}

std::string name_of(const ::testing::TestParamInfo<std::tuple<Precision, std::string>>& info) {
  std::string name = std::get<1>(info.param);
  std::erase_if(name, [](char c) { return c == '+'; });
  std::ranges::replace(name, '-', '_');
  return name;
}

const Precision kFp32{"fp32", [] { return make_cpu_backend(DType::kF32, 1); }, 1e-4, 1e-3};
const Precision kBf16{"bf16", [] { return make_cpu_backend(DType::kBF16, 1); }, 3e-2, 3e-2};
// Weights and state are fp32 still, so this bounds what is left of the sampler's own rounding.
const Precision kReference{"reference", make_reference_backend, 1e-5, 1e-5};

INSTANTIATE_TEST_SUITE_P(Fp32, PipelineParity,
                         ::testing::Combine(::testing::Values(kFp32),
                                            ::testing::ValuesIn(requests())),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Bf16, PipelineParity,
                         ::testing::Combine(::testing::Values(kBf16),
                                            ::testing::ValuesIn(requests())),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Reference, PipelineParity,
                         ::testing::Combine(::testing::Values(kReference),
                                            ::testing::Values("unetmotion3-ddim", "sharded-euler")),
                         name_of);

}  // namespace
}  // namespace seamwright::model::testing_support
