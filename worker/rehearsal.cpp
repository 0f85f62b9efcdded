#include "worker/rehearsal.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "model/arena.h"
#include "model/ops.h"

namespace seamwright::worker {
namespace {

model::Tensor empty_latents(model::Exec& exec, std::int64_t frames, std::int64_t channels,
                            const LatentShape& latent) {
  model::Tensor host(model::heap(), model::DType::kF32,
                     {frames, latent.height, latent.width, channels});
  std::memset(host.view().data, 0, host.view().bytes());
  return model::ops::upload(exec, host);
}

}  // namespace

double rehearse(const Job& job, const model::VideoModel& model, model::Backend& backend,
                std::span<const BranchPrompts> prompts) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  const auto& denoiser = model.denoiser();
  const auto frames = std::min<std::int64_t>(job.request.window, job.request.frames);
  model::Arena arena(backend.memory());
  model::Exec exec{backend, arena};
  const bool ran = backend.rehearse([&] {
    model::Tensor embeddings(model::heap(), model::DType::kF32,
                             prompts.front().keyframes.front().shape());
    std::memcpy(embeddings.view().data, prompts.front().keyframes.front().view().data,
                embeddings.view().bytes());
    model::PromptContext context(std::move(embeddings));
    const auto latents = empty_latents(exec, frames, denoiser.in_channels(), job.latent);
    denoiser.predict(exec, latents,
                     {.timestep = 1, .context = &context, .height = job.latent.height,
                      .width = job.latent.width});
    model.codec().decode(exec, empty_latents(exec, std::min(job.decode_chunk, frames),
                                             job.latent.channels, job.latent));
  });
  return ran ? std::chrono::duration<double>(Clock::now() - begin).count() : 0;
}

}  // namespace seamwright::worker
