// One job, resolved against one model: every default filled in, everything checked, nothing
// computed yet. The same on every rank.
// Threads: const after construction, except the schedule's cache (one Job per thread).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/prompt_schedule.h"
#include "base/request.h"
#include "model/sampling/sampler.h"
#include "model/video_model.h"
#include "scheduling/fusion.h"
#include "scheduling/windows.h"
#include "worker/given_frames.h"
#include "worker/noise_source.h"

namespace seamwright::worker {

struct LatentShape {
  std::int64_t channels = 4, height = 8, width = 8;
  std::size_t size() const { return static_cast<std::size_t>(channels * height * width); }
};

// Tensors supplied or wanted for checking against other implementations.
struct TensorFiles {
  std::optional<std::filesystem::path> latents_in, noise_in;
};

struct Job {
  JobRequest request;  // with every default filled in
  LatentShape latent;
  std::int64_t decode_chunk = 1;  // frames decoded together, on an absolute-frame grid
  int branches = 1;               // 2 with guidance: unconditional first
  std::unique_ptr<const model::Sampler> sampler;
  scheduling::WindowSchedule schedule;
  scheduling::FusionKind fusion = scheduling::FusionKind::kOverlapLinear;
  NoiseSource noise;
  PromptSchedule prompts;
  bool clean_known_frames = false;  // read by the network as they are, not noised
  // What the video starts from; null where nothing is given. Set once the frames are encoded.
  std::shared_ptr<const GivenFrames> given{};

  int steps() const { return sampler->steps(); }
  bool causal() const { return request.coherence == "causal"; }
  bool streaming() const { return request.order == "streaming"; }
  // U-Net evaluations of the whole job, all guidance branches and rounds counted.
  std::int64_t evaluations() const;
};

// Throws kInvalidArgument or kUnsupported naming what the model allows.
Job resolve(JobRequest request, const model::VideoModel& model, const TensorFiles& files);

}  // namespace seamwright::worker
