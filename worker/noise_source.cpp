#include "worker/noise_source.h"

#include <algorithm>
#include <charconv>
#include <string>

#include "base/error.h"
#include "model/safetensors.h"

namespace seamwright::worker {
namespace {

// Draws of one level's resampling rounds share a block of evaluation numbers (causal.md).
constexpr std::uint32_t kRoundsPerLevel = 16;

std::vector<float> read_frames(const model::SafetensorsFile& file,
                               const std::filesystem::path& path, const std::string& name,
                               const NoiseOptions& o) {
  const auto* tensor = file.find(name);
  require(tensor != nullptr, "{}: there is no tensor '{}'", path.string(), name);
  const model::Shape expected{o.frames, o.channels, o.height, o.width};
  require(tensor->type == model::DType::kF32 && tensor->shape == expected,
          "{}: tensor '{}' is {} {}, but this job needs F32 {} (frames, channels, height, width of "
          "the latents)",
          path.string(), name, model::to_string(tensor->type), tensor->shape.to_string(),
          expected.to_string());
  std::vector<float> values(static_cast<std::size_t>(expected.elements()));
  model::copy_to_float(*tensor, values);
  return values;
}

int step_of(const std::string& name, const std::filesystem::path& path) {
  int step = -1;
  constexpr std::string_view kPrefix = "noise.";
  if (name.starts_with(kPrefix)) {
    const char* last = name.data() + name.size();
    const auto [end, error] = std::from_chars(name.data() + kPrefix.size(), last, step);
    if (error != std::errc() || end != last) step = -1;
  }
  require(step >= 0, "{}: tensor '{}' is not of the form noise.K with a step index K",
          path.string(), name);
  return step;
}

}  // namespace

NoiseSource::NoiseSource(const NoiseOptions& options) : options_(options) {
  if (options_.freenoise) {
    sources_ = std::make_shared<scheduling::FreenoiseSources>(options_.window, options_.stride,
                                                              options_.seed);
  }
  if (options_.latents_in) {
    const model::SafetensorsFile file(*options_.latents_in);
    latents_ = read_frames(file, *options_.latents_in, "latents", options_);
  }
  if (options_.noise_in) {
    const model::SafetensorsFile file(*options_.noise_in);
    for (const auto& tensor : file.tensors()) {
      injected_[step_of(tensor.name, *options_.noise_in)] =
          read_frames(file, *options_.noise_in, tensor.name, options_);
    }
  }
}

void NoiseSource::initial(std::int64_t frame, std::span<float> out) const {
  if (!latents_.empty()) {
    const auto at = latents_.begin() + frame * static_cast<std::int64_t>(out.size());
    std::copy_n(at, out.size(), out.begin());
    return;
  }
  draw(NoisePurpose::kInitial, frame, 0, out);
}

void NoiseSource::sampler(std::int64_t frame, int step, std::span<float> out) const {
  if (options_.noise_in) {
    const auto found = injected_.find(step);
    require(found != injected_.end(), "{}: step {} needs a tensor noise.{}, which is missing",
            options_.noise_in->string(), step, step);
    const auto at = found->second.begin() + frame * static_cast<std::int64_t>(out.size());
    std::copy_n(at, out.size(), out.begin());
    return;
  }
  draw(NoisePurpose::kSampler, frame, static_cast<std::uint32_t>(step), out);
}

void NoiseSource::resample(std::int64_t frame, int level, int round, std::span<float> out) const {
  draw(NoisePurpose::kResample, frame,
       static_cast<std::uint32_t>(level) * kRoundsPerLevel + static_cast<std::uint32_t>(round),
       out);
}

void NoiseSource::draw(NoisePurpose purpose, std::int64_t frame, std::uint32_t evaluation,
                       std::span<float> out) const {
  const std::int64_t source = sources_ ? sources_->of(static_cast<int>(frame)) : frame;
  fill_normal(
      {.seed = options_.seed, .purpose = purpose, .frame = source, .evaluation = evaluation}, out);
}

}  // namespace seamwright::worker
