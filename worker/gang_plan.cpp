#include "worker/gang_plan.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/sha256.h"
#include "model/dry/dry_backend.h"
#include "model/model_parts.h"
#include "scheduling/partition.h"
#include "worker/block_table.h"

namespace seamwright::worker {
namespace {

// Planning weights blocks by what bounds them on a processor of this shape; only ratios matter.
constexpr Roofline kRoofline{2e11, 2e10};

double seconds_of(model::DryBackend& backend) {
  double seconds = 0;
  for (const auto& op : backend.take_records()) {
    seconds += std::max(op.flops / kRoofline.flops_per_s, op.bytes / kRoofline.bytes_per_s);
  }
  return seconds;
}

// Decoding one frame, among as many as a chunk has.
double decode_frame_seconds(const Job& job, const model::LoadOptions& load,
                            model::DryBackend& backend) {
  const auto built = model::build_codec(model::open_codec(load.model, load.vae), backend);
  model::CountingAllocator memory;
  model::Exec exec{backend, memory};
  const auto frames = std::min<std::int64_t>(job.decode_chunk, job.request.frames);
  const model::Tensor latents(memory, backend.activation_type(),
                              {frames, job.latent.height, job.latent.width, job.latent.channels});
  backend.take_records();
  built.network->decode(exec, latents);
  return seconds_of(backend) / static_cast<double>(frames);
}

// Shapes of what crosses after each visit but the last, from a run that computes nothing.
std::vector<CutLayout> cut_layouts(const model::Denoiser& network, model::DryBackend& backend,
                                   const MicroBatchSize& size,
                                   const scheduling::Partition& partition) {
  model::CountingAllocator memory;
  model::Exec exec{backend, memory};
  model::PromptContext context(
      model::Tensor(model::heap(), model::DType::kF32, {1, size.tokens, size.context_width}));
  model::Activations activations;
  activations.put("sample",
                  model::Tensor(memory, backend.activation_type(),
                                {size.frames, size.height, size.width, network.in_channels()}));
  std::vector<CutLayout> cuts;
  for (std::size_t v = 0; v + 2 < partition.bounds.size(); ++v) {
    network.run(exec, partition.bounds[v], partition.bounds[v + 1],
                {.timestep = 0, .context = &context, .height = size.height, .width = size.width},
                activations);
    auto& cut = cuts.emplace_back();
    for (const auto& name : partition.sends[v]) {
      const auto view = activations.get(name);
      cut.push_back({name, view.dtype, view.shape});
    }
  }
  return cuts;
}

}  // namespace

GangPlan make_gang_plan(const Job& job, const model::LoadOptions& load, const model::Backend& ranks,
                        const scheduling::Layout& layout, bool carry_latents) {
  GangPlan plan;
  plan.request = plan_request_for(job);
  plan.layout = layout;
  scheduling::validate(layout);
  plan.costs = scheduling::uniform_costs(layout, 1.0);
  const auto backend = model::make_dry_backend(ranks);
  const auto files = model::open_denoiser(load.model, load.motion_adapter);
  const auto built = model::build_denoiser(files, *backend);
  MicroBatchSize size;
  size.frames = std::min<std::int64_t>(job.request.window, job.request.frames);
  size.height = job.latent.height;
  size.width = job.latent.width;
  size.context_width = files.config.cross_attention_dim.front();
  const auto table = block_table(*built.network, *backend, size, kRoofline);
  scheduling::PartitionRequest request;
  request.stages = layout.stages;
  request.folded = layout.folded;
  const double decode_frame_s = decode_frame_seconds(job, load, *backend);
  if (job.streaming()) {
    // Beside denoising, so a stage that has less of that can take more of it; a window brings as
    // many new frames as it advances.
    const auto advance = std::max<std::int64_t>(1, job.request.window - job.request.overlap);
    request.decode_s = decode_frame_s * static_cast<double>(advance) /
                       (plan.request.steps * plan.request.branches * plan.request.rounds);
  }
  const auto partition = scheduling::partition_stages(table, request);
  scheduling::apply(partition, plan.costs);
  plan.costs.decode_frame_s = decode_frame_s;
  plan.reasons = partition.reasons;
  for (std::size_t v = 0; v + 1 < partition.bounds.size(); ++v) {
    Visit visit;
    visit.blocks = {partition.bounds[v], partition.bounds[v + 1]};
    if (v < partition.sends.size()) visit.sends = partition.sends[v];
    if (v < partition.keeps.size()) visit.keeps = partition.keeps[v];
    plan.visits.push_back(std::move(visit));
  }
  plan.prompt = {1, size.tokens, size.context_width};
  plan.cuts = cut_layouts(*built.network, *backend, size, partition);
  auto& sizes = plan.costs.sizes;
  sizes.latent_frame_bytes = static_cast<std::int64_t>(job.latent.size() * sizeof(float));
  sizes.history_frames = job.sampler->uses_history() ? 1 : 0;
  sizes.output_frame_bytes = static_cast<std::int64_t>(picture_bytes(job)) +
                             (carry_latents ? sizes.latent_frame_bytes : 0);
  return plan;
}

std::vector<model::BlockRange> blocks_of_stage(const GangPlan& plan, int stage) {
  std::vector<model::BlockRange> ranges;
  for (int v = 0; v < plan.layout.visits(); ++v) {
    if (plan.layout.stage_of_visit(v) == stage) {
      ranges.push_back(plan.visits[static_cast<std::size_t>(v)].blocks);
    }
  }
  return ranges;
}

std::string agreement_of(const Job& job, const GangPlan& plan, const std::string& numerics,
                         const std::string& model_hash) {
  Sha256 hash;
  hash.update(to_json(job.request).dump());
  hash.update(scheduling::to_string(plan.layout));
  for (const auto& visit : plan.visits) {
    hash.update(fmt::format(";{}-{}", visit.blocks.first, visit.blocks.last));
  }
  for (double seconds : plan.costs.visit_s) hash.update(fmt::format(",{:a}", seconds));
  for (double speed : plan.costs.rank_speed) hash.update(fmt::format("/{:a}", speed));
  return nlohmann::json{
      {"plan", to_hex(hash.finish())}, {"numerics", numerics}, {"model", model_hash}}
      .dump();
}

}  // namespace seamwright::worker
