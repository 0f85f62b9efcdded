#include "model/nets/unet.h"

#include <algorithm>

#include "model/nets/sinusoid.h"
#include "model/nets/unet_plan.h"

namespace seamwright::model {
namespace {

constexpr std::int64_t kUnlimitedWindow = std::int64_t{1} << 20;

std::int64_t first_width(const UNetConfig& config) {
  require(!config.block_out_channels.empty() && config.block_out_channels[0] > 0,
          "unet config: block_out_channels is empty");
  return config.block_out_channels[0];
}

// Position tables in the checkpoint set the real limit; the config's is for tables we compute.
std::int64_t window_limit(const UNetConfig& config, const LoadContext& motion,
                          const std::vector<PlannedBlock>& plan) {
  if (!config.motion) return kUnlimitedWindow;
  std::int64_t limit = kUnlimitedWindow;
  for (const auto& block : plan) {
    if (!block.from_adapter) continue;
    const auto pe = motion.ledger.source().find(block.name + ".transformer_blocks.0.pos_embed.pe");
    limit =
        std::min(limit, pe && pe->shape.rank() == 3 ? pe->shape[1] : config.motion->max_seq_length);
  }
  return limit;
}

}  // namespace

UNet::UNet(const UNetConfig& config, LoadContext& unet, LoadContext* adapter,
           const UNetOptions& options)
    : config_(config),
      time_linear1_(Scope{unet, "time_embedding.linear_1"}, first_width(config),
                    4 * first_width(config)),
      time_linear2_(Scope{unet, "time_embedding.linear_2"}, 4 * first_width(config),
                    4 * first_width(config)) {
  const auto plan = plan_unet(config, options.motion_norm);
  LoadContext& motion = adapter != nullptr ? *adapter : unet;
  max_window_ = window_limit(config, motion, plan);
  blocks_.resize(plan.size());
  for (std::size_t i = 0; i < plan.size(); ++i) {
    LoadContext& load = plan[i].from_adapter ? motion : unet;
    const std::size_t bytes = load.resident_bytes;
    const std::int64_t parameters = load.parameters;
    const bool mine = options.blocks.empty() ||
                      std::ranges::any_of(options.blocks, [i](auto& r) { return r.has(i); });
    if (mine) blocks_[i] = plan[i].build(Scope{load, ""});
    infos_.push_back({plan[i].name, plan[i].reads, plan[i].writes, load.resident_bytes - bytes,
                      load.parameters - parameters});
  }
}

std::int64_t UNet::spatial_divisor() const {
  return std::int64_t{1} << (config_.block_out_channels.size() - 1);
}

Tensor UNet::silu_time_embedding(Exec& exec, float timestep) const {
  const Tensor features = timestep_features(timestep, config_.block_out_channels[0]);
  Tensor temb = ops::upload(exec, features);                            // [1, C0]
  temb = time_linear1_(exec, temb, {.activation = Activation::kSilu});  // [1, 4 C0]
  return time_linear2_(exec, temb, {.activation = Activation::kSilu});  // [1, 4 C0]
}

void UNet::run(Exec& exec, std::size_t first, std::size_t last, const DenoiseInput& input,
               Activations& activations) const {
  ensure(first <= last && last <= blocks_.size(), "there are no blocks [{}, {}) of {}", first, last,
         blocks_.size());
  if (first == last) return;
  const Shape arriving = activations.get(infos_[first].reads.front()).shape;
  const AllocatorRun evaluation(exec.arena, run_key("unet", {first, last}, arriving));
  Tensor own;
  if (!input.time_embedding) own = silu_time_embedding(exec, input.timestep);
  const ConstView temb = input.time_embedding ? input.time_embedding : own.view();
  BlockRun run{exec, activations, temb, input.context, input.height, input.width};
  if (run.height == 0 && activations.has("sample")) {
    const Shape sample = activations.get("sample").shape;
    ensure(sample.rank() == 4, "\"sample\" must be [F, h, w, C], not {}", sample.to_string());
    run.height = sample[1];
    run.width = sample[2];
  }
  for (std::size_t i = first; i < last; ++i) {
    ensure(blocks_[i] != nullptr, "block {} ('{}') was not loaded by this stage", i,
           infos_[i].name);
    blocks_[i]->run(run);
  }
}

}  // namespace seamwright::model
