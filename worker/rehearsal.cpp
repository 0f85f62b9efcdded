#include "worker/rehearsal.h"

#include <algorithm>
#include <chrono>

#include "model/arena.h"

namespace seamwright::worker {
namespace {

// Evaluations until a device's faster way is in place: one to fill caches, one to settle memory,
// and the one that is recorded.
constexpr int kLearning = 3;

model::Tensor zeros(model::Exec& exec, model::DType dtype, const model::Shape& shape) {
  model::Tensor tensor(exec.backend.memory(), dtype, shape);
  exec.backend.copy_in(std::vector<std::byte>(tensor.view().bytes()), tensor);
  return tensor;
}

// What a visit reads: the sample, or what would be sent over the cut
// before it, and what an earlier visit left here.
model::Activations inputs_of(int visit, const GangPlan& plan, std::int64_t frames,
                             const LatentShape& latent, model::Activations kept,
                             model::Exec& exec) {
  if (visit == 0) {
    kept.put("sample", zeros(exec, exec.backend.activation_type(),
                             {frames, latent.height, latent.width, latent.channels}));
    return kept;
  }
  for (const auto& tensor : plan.cuts.at(static_cast<std::size_t>(visit - 1))) {
    kept.put(tensor.name, zeros(exec, tensor.dtype, tensor.shape));
  }
  return kept;
}

// The visits of this rank's part, in order, of one micro-batch of the first window.
template <class Run>
void rehearse_visits(int rank, const Job& job, const GangPlan& plan, model::Exec& exec,
                     const Run& run) {
  const auto frames = job.schedule.window(0, 0).frames;
  model::Activations kept;
  for (int v = 0; v < plan.layout.visits(); ++v) {
    if (plan.layout.stage_of_visit(v) != rank % plan.layout.stages) continue;
    const Visit& visit = plan.visits.at(static_cast<std::size_t>(v));
    auto activations = inputs_of(v, plan, static_cast<std::int64_t>(frames.size()), job.latent,
                                 std::exchange(kept, {}), exec);
    run(visit.blocks, frames, activations);
    for (const auto& name : visit.keeps) kept.put(name, activations.take(name));
  }
}

// Chunks lie on a grid: all have one length but the last.
void rehearse_decoding(const Job& job, const model::FrameCodec& codec, model::Exec& exec) {
  const auto& s = job.latent;
  const auto last = job.request.frames % job.decode_chunk;
  for (const auto count : {std::min(job.decode_chunk, job.request.frames), last}) {
    if (count == 0) continue;
    const std::vector<float> host(static_cast<std::size_t>(count) * s.size());
    const auto pixels = decode_pixels(
        exec, codec, {host.data(), model::DType::kF32, {count, s.height, s.width, s.channels}});
    std::vector<std::byte> bytes(pixels.view().bytes());
    const auto arriving = exec.backend.read_back(pixels, bytes);
    if (arriving) arriving->wait();
  }
}

}  // namespace

double rehearse(int rank, const Job& job, const GangPlan& plan, StageModel& stage,
                const model::FrameCodec& codec, model::Exec exec) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  model::Arena apart(exec.backend.memory());  // what no later evaluation needs goes with it
  model::Exec on{exec.backend, apart};
  const bool ran = exec.backend.rehearse([&] {
    for (int branch = 0; branch < stage.branches(); ++branch) {
      rehearse_visits(rank, job, plan, on,
                      [&](model::BlockRange blocks, const std::vector<int>& frames,
                          model::Activations& activations) {
                        stage.run_apart(on, blocks, 0, branch, frames, activations);
                      });
    }
    rehearse_decoding(job, codec, on);
  });
  if (!ran) return 0;
  for (int i = 0; i < kLearning && stage.has_faster_way(); ++i) {
    for (int branch = 0; branch < stage.branches(); ++branch) {
      rehearse_visits(rank, job, plan, exec,
                      [&](model::BlockRange blocks, const std::vector<int>& frames,
                          model::Activations& activations) {
                        stage.run(blocks, 0, branch, frames, activations);
                      });
    }
  }
  exec.backend.synchronize();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace seamwright::worker
