// Small pictures, videos and jobs that start from them, for the tests of given frames.
// Threads: one test at a time.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "media/image.h"
#include "media/pixels.h"
#include "media/video_writer.h"
#include "model/safetensors.h"
#include "tests/unit/media/temporary_folder.h"
#include "worker/frame_math.h"
#include "worker/generate.h"

namespace seamwright::worker {

namespace fs = std::filesystem;
using media::TemporaryFolder;

inline const fs::path kModel = SEAMWRIGHT_FIXTURES "/checkpoints/unet2d_adapter_v3";
inline constexpr int kFrames = 20;
inline constexpr int kSide = 32;

inline media::RgbImage picture(int number, int width = kSide, int height = kSide) {
  media::RgbImage image(width, height);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      auto* pixel = image.at(x, y);
      pixel[0] = static_cast<std::uint8_t>((x * 3 + number * 17) % 256);
      pixel[1] = static_cast<std::uint8_t>((y * 2 + number * 5) % 256);
      pixel[2] = static_cast<std::uint8_t>((x + y + number * 40) % 256);
    }
  }
  return image;
}

using Latents = std::vector<std::vector<float>>;  // by frame

class GivenFramesTest : public ::testing::Test {
 protected:
  GenerateOptions options(const std::string& coherence = "local",
                          const std::string& sampler = "ddim") {
    GenerateOptions o;
    o.model_folder = kModel;
    auto& r = o.request;
    r.prompt = "a cat on a hill";
    r.frames = kFrames;
    r.window = 8;
    r.overlap = 4;
    r.width = r.height = kSide;
    r.steps = 3;
    r.guidance = 1;
    r.seed = 11;
    r.coherence = coherence;
    r.sampler = sampler;
    o.threads = 1;
    return o;
  }

  fs::path png(int number, int width = kSide, int height = kSide) {
    const auto file = folder_.path() / fmt::format("p{}-{}x{}.png", number, width, height);
    media::write_png(file, picture(number, width, height).view());
    return file;
  }
  // Lossless, so that its frames are known: a GIF would quantise, PNG folders are no video.
  fs::path video(int frames) {
    const auto file = folder_.path() / fmt::format("v{}.mp4", frames);
    media::VideoOptions video;
    video.width = video.height = kSide;
    media::VideoWriter writer(file, video);
    for (int i = 0; i < frames; ++i) writer.write(picture(i).view());
    writer.finish();
    return file;
  }

  Latents run(GenerateOptions o) {
    o.latents_out = folder_ / "latents.safetensors";
    last_ = generate(o, {});
    const model::SafetensorsFile file(*o.latents_out);
    const auto* tensor = file.find("latents");
    std::vector<float> values(static_cast<std::size_t>(tensor->shape.elements()));
    model::copy_to_float(*tensor, values);
    const auto n = static_cast<std::ptrdiff_t>(values.size() / kFrames);
    Latents frames;
    for (int f = 0; f < kFrames; ++f) {
      frames.emplace_back(values.begin() + f * n, values.begin() + (f + 1) * n);
    }
    return frames;
  }
  std::string hash(const GenerateOptions& o) {
    return generate(o, {}).report.at("latents_sha256").get<std::string>();
  }
  std::string error_of(const GenerateOptions& o) {
    try {
      generate(o, {});
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing was refused";
  }

  TemporaryFolder folder_;
  GenerateResult last_;
};

// What the codec makes of a picture.
inline std::vector<float> encoded(const media::RgbImage& image) {
  const auto backend = make_backend("cpu", "fp32", 1);
  const auto model =
      model::VideoModel::load({.model = kModel, .parts = {model::Part::kCodec}}, *backend);
  model::Exec exec{*backend, backend->memory()};
  std::vector<float> pixels(image.pixels.size());
  media::from_rgb8(image.pixels, pixels);
  const auto input = model::ops::upload(
      exec, {pixels.data(), model::DType::kF32, {1, image.height, image.width, 3}});
  const auto out = model->codec().encode(exec, input);
  model::Tensor host(model::heap(), model::DType::kF32, out.shape());
  backend->download(out, host);
  std::vector<float> planes(static_cast<std::size_t>(host.view().elements()));
  rows_to_planes({host.view().as<float>(), planes.size()}, 4, planes);
  return planes;
}

inline double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
  }
  return std::sqrt(sum / static_cast<double>(a.size()));
}

}  // namespace seamwright::worker
