// Whole requests, from prompt to final latents and decoded frames, against what diffusers' pipeline
// (fixtures/pipeline) and a short loop around its networks (fixtures/windows) made of them.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/ops.h"
#include "model/safetensors.h"
#include "model/video_model.h"
#include "worker/generate.h"

namespace seamwright {
namespace {

namespace fs = std::filesystem;

const fs::path kFixtures = SEAMWRIGHT_FIXTURES;

std::vector<std::string> requests_in(const char* folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kFixtures / folder)) {
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

struct Case {
  nlohmann::json request;
  fs::path tensors;
};

Case read_case(const char* folder, const std::string& name) {
  std::ifstream file(kFixtures / folder / (name + ".json"));
  return {nlohmann::json::parse(file), kFixtures / folder / (name + ".safetensors")};
}

worker::GenerateOptions options_for(const Case& c) {
  const nlohmann::json& j = c.request;
  worker::GenerateOptions options;
  options.model_folder = kFixtures / "checkpoints" / j.at("checkpoint").get<std::string>();
  JobRequest& r = options.request;
  if (fs::exists(options.model_folder / "motion_adapter")) {
    r.motion_adapter = (options.model_folder / "motion_adapter").string();
  }
  r.prompt = j.at("prompt");
  r.negative_prompt = j.value("negative_prompt", nlohmann::json()).is_string()
                          ? j["negative_prompt"].get<std::string>()
                          : "";
  r.frames = j.at("frames");
  r.width = j.at("width");
  r.height = j.at("height");
  r.steps = j.at("steps");
  r.sampler = j.at("sampler");
  r.guidance = j.at("guidance");
  r.seed = j.at("seed");
  r.window = j.value("window", static_cast<int>(r.frames));
  r.overlap = j.value("overlap", 0);
  r.context_stride = j.value("context_stride", 1);
  r.window_schedule = j.value("window_schedule", "static");
  r.fuse = j.value("fuse", "overlap-linear");
  r.coherence = j.value("coherence", "local");
  r.lag = j.value("lag", 1);
  r.resample = j.value("resample", 1);
  r.noise = j.value("noise", "independent");
  options.threads = 1;
  return options;
}

std::vector<float> floats(const model::SafetensorsFile& file, const char* name) {
  const model::StoredTensor* tensor = file.find(name);
  if (tensor == nullptr) throw std::runtime_error(std::string("no tensor ") + name);
  std::vector<float> values(static_cast<std::size_t>(tensor->shape.elements()));
  model::copy_to_float(*tensor, values);
  return values;
}

double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size() || b.empty()) return INFINITY;
  double difference = 0;
  double size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    size += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(difference / size);
}

// Final latents of a run, [F, C, h, w].
std::vector<float> run(worker::GenerateOptions options) {
  const fs::path out =
      fs::path(testing::TempDir()) / ("parity-" + std::to_string(::getpid()) + ".safetensors");
  options.latents_out = out;
  const auto result = worker::generate(options, {});
  EXPECT_TRUE(result.complete);
  const auto values = floats(model::SafetensorsFile(out), "latents");
  fs::remove(out);
  return values;
}

// A file of a fixture's sampler noise alone: --noise-in takes nothing else.
fs::path noise_of(const model::SafetensorsFile& fixture) {
  std::vector<model::StoredTensor> noise;
  while (const auto* tensor = fixture.find("noise." + std::to_string(noise.size()))) {
    noise.push_back(*tensor);
  }
  const fs::path out =
      fs::path(testing::TempDir()) / ("noise-" + std::to_string(::getpid()) + ".safetensors");
  model::write_safetensors(out, noise);
  return out;
}

// The fixture's decoded frames, decoded here from our latents; as [3, H, W] a frame.
std::vector<float> decode(const worker::GenerateOptions& options, const nlohmann::json& frames,
                          const std::vector<float>& latents, std::int64_t channels,
                          std::int64_t height, std::int64_t width) {
  auto backend = worker::make_backend("auto", "fp32", 1);
  model::LoadOptions load;
  load.model = options.model_folder;
  load.parts = {model::Part::kCodec};
  const auto loaded = model::VideoModel::load(load, *backend);
  model::Exec exec{*backend, backend->memory()};
  const std::int64_t plane = height * width;
  std::vector<float> all;
  for (const auto& frame : frames) {
    std::vector<float> rows(static_cast<std::size_t>(channels * plane));
    const float* from = latents.data() + frame.get<std::int64_t>() * channels * plane;
    for (std::int64_t c = 0; c < channels; ++c) {
      for (std::int64_t p = 0; p < plane; ++p) {
        rows[static_cast<std::size_t>(p * channels + c)] = from[c * plane + p];
      }
    }
    const auto input =
        model::ops::upload(exec, {rows.data(), model::DType::kF32, {1, height, width, channels}});
    const auto pixels = loaded->codec().decode(exec, input);
    model::Tensor host(model::heap(), model::DType::kF32, pixels.shape());
    backend->download(pixels, host);
    const auto* values = host.view().as<float>();
    const std::int64_t count = pixels.shape()[1] * pixels.shape()[2];
    for (std::int64_t c = 0; c < 3; ++c) {
      for (std::int64_t p = 0; p < count; ++p) all.push_back(values[p * 3 + c]);
    }
  }
  return all;
}

class PipelineParity : public testing::TestWithParam<std::string> {};
class WindowParity : public testing::TestWithParam<std::string> {};

TEST_P(PipelineParity, LatentsAndFramesEqualDiffusers) {
  const Case c = read_case("pipeline", GetParam());
  const model::SafetensorsFile expected(c.tensors);
  auto options = options_for(c);
  options.tensors.latents_in = c.tensors;
  if (expected.find("noise.0") != nullptr) options.tensors.noise_in = noise_of(expected);
  ++options.request.seed;  // only the files can give the right noise
  const auto latents = run(options);
  if (options.tensors.noise_in) fs::remove(*options.tensors.noise_in);
  EXPECT_LE(relative_error(latents, floats(expected, "final_latents")), 1e-4);
  const auto shape = expected.find("final_latents")->shape;
  const auto frames =
      decode(options, c.request.at("decoded_frames"), latents, shape[1], shape[2], shape[3]);
  EXPECT_LE(relative_error(frames, floats(expected, "decoded")), 1e-3);
}

// The same without files: the noise is a function of the seed.
TEST_P(PipelineParity, SeedAloneGivesTheSame) {
  const Case c = read_case("pipeline", GetParam());
  const model::SafetensorsFile expected(c.tensors);
  EXPECT_LE(relative_error(run(options_for(c)), floats(expected, "final_latents")), 1e-4);
}

TEST_P(WindowParity, LatentsEqualTheReferenceLoop) {
  const Case c = read_case("windows", GetParam());
  const model::SafetensorsFile expected(c.tensors);
  EXPECT_LE(relative_error(run(options_for(c)), floats(expected, "final_latents")), 1e-4);
}

TEST_P(PipelineParity, Bf16StaysNear) {
  const Case c = read_case("pipeline", GetParam());
  const model::SafetensorsFile expected(c.tensors);
  auto options = options_for(c);
  options.request.precision = "bf16";
  const auto latents = run(options);
  const double error = relative_error(latents, floats(expected, "final_latents"));
  EXPECT_LE(error, 3e-2);
  EXPECT_GE(error, 1e-5) << "bf16 was asked for, but fp32 was computed";
  const auto shape = expected.find("final_latents")->shape;
  const auto frames =
      decode(options, c.request.at("decoded_frames"), latents, shape[1], shape[2], shape[3]);
  EXPECT_LE(relative_error(frames, floats(expected, "decoded")), 3e-2);
  RecordProperty("latents", std::to_string(error));
}

TEST(Parity, ThreadsDoNotChangeABit) {
  const Case c = read_case("windows", "static-overlap-linear-43");
  auto options = options_for(c);
  const auto one = run(options);
  options.threads = 2;
  EXPECT_EQ(one, run(options));
}

TEST(Parity, AnotherSeedGivesAnotherVideo) {
  const Case c = read_case("windows", "static-overlap-linear-43");
  auto options = options_for(c);
  options.request.seed += 1;
  EXPECT_GT(
      relative_error(run(options), floats(model::SafetensorsFile(c.tensors), "final_latents")),
      0.1);
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& ch : name) {
    if (std::isalnum(static_cast<unsigned char>(ch)) == 0) ch = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Diffusers, PipelineParity, testing::ValuesIn(requests_in("pipeline")),
                         test_name);
INSTANTIATE_TEST_SUITE_P(Loop, WindowParity, testing::ValuesIn(requests_in("windows")), test_name);

}  // namespace
}  // namespace seamwright
