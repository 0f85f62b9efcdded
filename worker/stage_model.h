// The part of the denoiser one rank holds, run one visit of one micro-batch at a time, and the
// prompts every stage needs.
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "model/ops.h"
#include "model/video_model.h"
#include "worker/job.h"

namespace seamwright::worker {

// Host embeddings of every keyframe of one guidance branch, as computed once and broadcast.
struct BranchPrompts {
  std::vector<model::Tensor> keyframes;  // f32 [1, tokens, dim]
};

// Encodes negative (with guidance) and positive prompts; cut text is reported in `warnings`.
std::vector<BranchPrompts> encode_prompts(const Job& job, const model::TextEncoder& text,
                                          model::Exec& exec, std::vector<std::string>& warnings);

// Host latents [n, h, w, C] to RGB8 on the backend, [n, H, W, 3]; not waited for.
model::Tensor decode_pixels(model::Exec& exec, const model::FrameCodec& codec,
                            model::ConstView latents);

class StageModel {
 public:
  StageModel(const Job& job, const model::Denoiser& denoiser, model::Exec exec,
             std::vector<BranchPrompts> prompts);
  ~StageModel();

  // The frames' latents at `step`, scaled for the sampler, on the backend: [L, h, w, C]. Those of
  // `clean` frames [L] have no noise and are read as they are.
  model::Tensor make_sample(int step, std::span<const std::span<const float>> latents,
                            const std::vector<bool>& clean);
  // Runs one visit on `activations` in place. `frames` are absolute, in position order.
  void run(model::BlockRange blocks, int step, int branch, const std::vector<int>& frames,
           model::Activations& activations);
  // The same on another arena, without the backend's faster way, which
  // learns from its first runs; leaves nothing behind.
  void run_apart(model::Exec exec, model::BlockRange blocks, int step, int branch,
                 const std::vector<int>& frames, model::Activations& activations) const;
  bool has_faster_way() const { return accelerated_ != nullptr; }
  int branches() const { return static_cast<int>(branches_.size()); }
  // The U-Net's output as [L, C, h, w] on the host.
  std::vector<float> read_prediction(model::ConstView prediction);

 private:
  struct Branch;
  model::DenoiseInput input_for(int step, model::PromptContext& context) const;
  model::PromptContext* context_for(Branch& branch, const std::vector<int>& frames);

  const Job& job_;
  const model::Denoiser& denoiser_;
  std::unique_ptr<model::Denoiser> accelerated_;  // the same where the backend has a faster way
  model::Exec exec_;
  std::vector<std::unique_ptr<Branch>> branches_;
  std::vector<float> host_;  // staging, [L, h, w, C]
};

}  // namespace seamwright::worker
