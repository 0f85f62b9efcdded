#include "worker/loaded_rank.h"

#include <algorithm>

#include "base/error.h"

namespace seamwright::worker {
namespace {

model::LoadOptions load_options(const GenerateOptions& options) {
  model::LoadOptions load;
  load.model = options.model_folder;
  if (!options.request.motion_adapter.empty()) load.motion_adapter = options.request.motion_adapter;
  if (!options.request.vae.empty()) load.vae = options.request.vae;
  if (!options.request.tokenizer.empty()) load.tokenizer = options.request.tokenizer;
  if (!options.tokenizer_fallback.empty()) load.tokenizer_fallback = options.tokenizer_fallback;
  for (const auto& lora : options.request.lora) load.loras.push_back({lora.file, lora.scale});
  load.per_frame_motion_norm = options.request.motion_norm == "per-frame";
  load.known_frames = has_known_frames(options.request);
  return load;
}

// Everything that decides what is in memory after loading.
std::string load_key(const GenerateOptions& options, const model::LoadOptions& load, int threads) {
  std::string key =
      fmt::format("{} {} {}\n{}\n{}\n{}\n{}", options.request.device, options.request.precision,
                  threads, load.model.string(), options.request.motion_adapter, options.request.vae,
                  load.per_frame_motion_norm);
  if (load.known_frames) key += " known frames";
  key += fmt::format("\n{}\n{}", options.request.tokenizer, options.tokenizer_fallback.string());
  for (const auto& lora : options.request.lora)
    key += fmt::format("\n{} {}", lora.file, lora.scale);
  for (const auto part : load.parts) key += fmt::format(" part {}", static_cast<int>(part));
  for (const auto& run : load.blocks) key += fmt::format(" blocks {} {}", run.first, run.last);
  return key;
}

// `outline`: without weights worth mentioning.
LoadedModel load_model(const GenerateOptions& options, const model::LoadOptions& load, int rank,
                       int threads, bool outline) {
  const auto make = [&] {
    const int turn = options.rank_on_host >= 0 ? options.rank_on_host : rank;
    auto backend = make_backend(options.request.device, options.request.precision, threads, turn);
    auto model = model::VideoModel::load(load, *backend);
    return loaded_model(std::move(backend), std::move(model));
  };
  if (!options.models) return make();
  return options.models->get(fmt::format("{}{}", outline ? "outline " : "rank ", rank),
                             load_key(options, load, threads), make);
}

}  // namespace

LoadedRank load_rank(const GenerateOptions& options, int rank, int threads) {
  LoadedRank l;
  auto load = load_options(options);
  const bool staged = options.layout.ranks() > 1;
  if (staged) {
    // A whole model is resolved first without weights worth mentioning: a stage then loads its own.
    load.parts = {model::Part::kDenoiser, model::Part::kCodec};
    load.blocks = {{0, 0}};
  }
  auto first = load_model(options, load, rank, threads, staged);
  l.backend = first.backend;
  l.model = first.model;
  l.job.emplace(resolve(options.request, *l.model, options.tensors));
  l.plan =
      make_gang_plan(*l.job, load, *l.backend, options.layout, options.latents_out.has_value());
  l.costs_key =
      fmt::format("{}\n{} frames {}x{} {}", load_key(options, load, threads),
                  std::min<std::int64_t>(l.job->request.window, l.job->request.frames),
                  l.job->latent.width, l.job->latent.height, scheduling::to_string(options.layout));
  if (staged) {
    load.blocks = blocks_of_stage(l.plan, rank % options.layout.stages);
    if (rank == 0) load.parts.push_back(model::Part::kTextEncoder);
    auto own = load_model(options, load, rank, threads, false);
    l.backend = own.backend;
    l.model = own.model;
  }
  return l;
}

}  // namespace seamwright::worker
