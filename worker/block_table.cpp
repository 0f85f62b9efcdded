#include "worker/block_table.h"

#include <algorithm>
#include <utility>

namespace seamwright::worker {

std::vector<scheduling::PartitionBlock> block_table(const model::Denoiser& network,
                                                    model::DryBackend& backend,
                                                    const MicroBatchSize& size,
                                                    const Roofline& roofline) {
  model::CountingAllocator memory;
  model::Exec exec{backend, memory};
  model::PromptContext context(
      model::Tensor(model::heap(), model::DType::kF32, {1, size.tokens, size.context_width}));
  model::Activations activations;
  activations.put("sample",
                  model::Tensor(memory, backend.activation_type(),
                                {size.frames, size.height, size.width, network.in_channels()}));
  const model::DenoiseInput input{
      .timestep = 0, .context = &context, .height = size.height, .width = size.width};
  backend.take_records();
  std::vector<scheduling::PartitionBlock> table;
  for (std::size_t i = 0; i < network.blocks().size(); ++i) {
    const model::BlockInfo& info = network.blocks()[i];
    network.run(exec, i, i + 1, input, activations);
    scheduling::PartitionBlock block;
    block.name = info.name;
    block.weight_bytes = static_cast<std::int64_t>(info.weight_bytes);
    block.reads = info.reads;
    for (const auto& op : backend.take_records()) {
      block.seconds += std::max(op.flops / roofline.flops_per_s, op.bytes / roofline.bytes_per_s);
    }
    for (const auto& name : info.writes) {
      const auto view = activations.get(name);
      block.writes.push_back({name, static_cast<std::int64_t>(view.bytes())});
    }
    table.push_back(std::move(block));
  }
  return table;
}

}  // namespace seamwright::worker
