#include "worker/stage_model.h"

#include <algorithm>

#include "base/error.h"
#include "model/text/tokenizer.h"
#include "worker/frame_math.h"

namespace seamwright::worker {
namespace {

model::Tensor host_copy(const model::Tensor& from) {
  model::Tensor to(model::heap(), from.dtype(), from.shape());
  std::copy_n(from.view().as<std::byte>(), from.view().bytes(), to.view().as<std::byte>());
  return to;
}

// Embeddings of a travelling prompt for the given frames: [F, tokens, dim], linear in between.
model::Tensor travel(const BranchPrompts& prompts, const PromptSchedule& schedule,
                     const std::vector<int>& frames) {
  const auto& one = prompts.keyframes.front().shape();
  const std::size_t size = static_cast<std::size_t>(one.elements());
  model::Tensor all(model::heap(), model::DType::kF32,
                    {static_cast<std::int64_t>(frames.size()), one[1], one[2]});
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const auto blend = schedule.at(frames[i]);
    const auto* a = prompts.keyframes[blend.from].view().as<float>();
    const auto* b = prompts.keyframes[blend.to].view().as<float>();
    auto* out = all.view().as<float>() + i * size;
    mix(1.0F - blend.weight, {a, size}, {b, size}, {out, size});
  }
  return all;
}

}  // namespace

std::vector<BranchPrompts> encode_prompts(const Job& job, const model::TextEncoder& text,
                                          model::Exec& exec, std::vector<std::string>& warnings) {
  const auto encode = [&](const std::string& prompt) {
    if (auto weights = model::prompt_weight_warning(prompt); !weights.empty()) {
      warnings.push_back(std::move(weights));
    }
    auto encoded = text.encode(exec, prompt);
    if (!encoded.dropped.empty()) {
      warnings.push_back(
          fmt::format("the prompt is longer than the text encoder takes; this part "
                      "has no effect: '{}'",
                      encoded.dropped));
    }
    return std::move(encoded.embeddings);
  };
  std::vector<BranchPrompts> branches;
  if (job.branches == 2)
    branches.emplace_back().keyframes.push_back(encode(job.request.negative_prompt));
  auto& positive = branches.emplace_back();
  for (const auto& keyframe : job.prompts.keyframes()) {
    positive.keyframes.push_back(encode(keyframe.prompt));
  }
  return branches;
}

model::Tensor decode_pixels(model::Exec& exec, const model::FrameCodec& codec,
                            model::ConstView latents) {
  return model::ops::pixels_to_rgb8(exec, codec.decode(exec, model::ops::upload(exec, latents)));
}

// Where one prompt serves every frame, its context, whose cross-attention keys and values are kept
// for the whole job, is shared by all windows.
struct StageModel::Branch {
  BranchPrompts prompts;
  std::unique_ptr<model::PromptContext> shared;
  // Of a travelling prompt: the context of the window seen last.
  std::vector<int> frames;
  std::unique_ptr<model::PromptContext> travelling;
};

StageModel::StageModel(const Job& job, const model::Denoiser& denoiser, model::Exec exec,
                       std::vector<BranchPrompts> prompts)
    : job_(job),
      denoiser_(denoiser),
      accelerated_(exec.backend.accelerated(denoiser)),
      exec_(exec) {
  for (auto& p : prompts) {
    auto branch = std::make_unique<Branch>();
    branch->prompts = std::move(p);
    if (branch->prompts.keyframes.size() == 1) {
      branch->shared =
          std::make_unique<model::PromptContext>(host_copy(branch->prompts.keyframes.front()));
    }
    branches_.push_back(std::move(branch));
  }
}

StageModel::~StageModel() = default;

model::Tensor StageModel::make_sample(int step, std::span<const std::span<const float>> latents,
                                      const std::vector<bool>& clean) {
  const auto& s = job_.latent;
  host_.resize(latents.size() * s.size());
  std::vector<float> scaled(s.size());
  for (std::size_t i = 0; i < latents.size(); ++i) {
    if (!clean[i]) job_.sampler->scale_input(step, latents[i], scaled);
    planes_to_rows(clean[i] ? latents[i] : scaled, static_cast<int>(s.channels),
                   std::span(host_).subspan(i * s.size(), s.size()));
  }
  return model::ops::upload(
      exec_, {host_.data(),
              model::DType::kF32,
              {static_cast<std::int64_t>(latents.size()), s.height, s.width, s.channels}});
}

model::PromptContext* StageModel::context_for(Branch& branch, const std::vector<int>& frames) {
  if (branch.shared) return branch.shared.get();
  if (!branch.travelling || branch.frames != frames) {
    branch.frames = frames;
    branch.travelling =
        std::make_unique<model::PromptContext>(travel(branch.prompts, job_.prompts, frames));
  }
  return branch.travelling.get();
}

model::DenoiseInput StageModel::input_for(int step, model::PromptContext& context) const {
  return {.timestep = job_.sampler->timestep(step),
          .context = &context,
          .height = job_.latent.height,
          .width = job_.latent.width};
}

void StageModel::run(model::BlockRange blocks, int step, int branch, const std::vector<int>& frames,
                     model::Activations& activations) {
  auto* context = context_for(*branches_.at(static_cast<std::size_t>(branch)), frames);
  const model::Denoiser& denoiser = accelerated_ ? *accelerated_ : denoiser_;
  denoiser.run(exec_, blocks.first, blocks.last, input_for(step, *context), activations);
}

void StageModel::run_apart(model::Exec exec, model::BlockRange blocks, int step, int branch,
                           const std::vector<int>& frames, model::Activations& activations) const {
  const auto& prompts = branches_.at(static_cast<std::size_t>(branch))->prompts;
  model::PromptContext context(prompts.keyframes.size() == 1
                                   ? host_copy(prompts.keyframes.front())
                                   : travel(prompts, job_.prompts, frames));
  denoiser_.run(exec, blocks.first, blocks.last, input_for(step, context), activations);
}

std::vector<float> StageModel::read_prediction(model::ConstView prediction) {
  const auto& s = job_.latent;
  const auto frames = static_cast<std::size_t>(prediction.shape[0]);
  host_.resize(frames * s.size());
  exec_.backend.download(prediction, {host_.data(), model::DType::kF32, prediction.shape});
  std::vector<float> planes(host_.size());
  for (std::size_t i = 0; i < frames; ++i) {
    rows_to_planes(std::span<const float>(host_).subspan(i * s.size(), s.size()),
                   static_cast<int>(s.channels), std::span(planes).subspan(i * s.size(), s.size()));
  }
  return planes;
}

}  // namespace seamwright::worker
