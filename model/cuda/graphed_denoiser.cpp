#include "model/cuda/graphed_denoiser.h"

#include <algorithm>

#include "base/log.h"

namespace seamwright::model::cuda {
namespace {

// Evaluations before one is captured: the first fills caches and makes the arena's plan, the second
// takes its memory from that plan.
constexpr int kWarmUps = 2;

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

// What blocks [first, last) read before they write it.
std::vector<std::string> inputs_of(const Denoiser& inner, std::size_t first, std::size_t last) {
  std::vector<std::string> inputs, written;
  for (std::size_t i = first; i < last; ++i) {
    for (const auto& name : inner.blocks()[i].reads) {
      if (!contains(written, name) && !contains(inputs, name)) inputs.push_back(name);
    }
    const auto& writes = inner.blocks()[i].writes;
    written.insert(written.end(), writes.begin(), writes.end());
  }
  return inputs;
}

}  // namespace

std::string GraphedDenoiser::key_of(const Denoiser& inner, std::size_t first, std::size_t last,
                                    const DenoiseInput& input, const Activations& activations) {
  std::string key = fmt::format("{}-{};{}x{};context {}", first, last, input.height, input.width,
                                input.context != nullptr ? input.context->id() : 0);
  for (const auto& name : inputs_of(inner, first, last)) {
    if (activations.has(name)) key += ";" + name + activations.get(name).shape.to_string();
  }
  return key;
}

GraphedDenoiser::GraphedDenoiser(const Denoiser& inner, CudaBackend& backend, std::size_t graphs)
    : inner_(inner), backend_(backend), arena_(backend.memory()), graphs_(graphs) {}

void GraphedDenoiser::take_inputs(Recorded& recorded, std::size_t first, std::size_t last,
                                  ConstView time, const Activations& activations) const {
  const auto take = [&](Tensor& to, ConstView from) {
    if (!to) to = Tensor(backend_.memory(), from.dtype, from.shape);
    backend_.copy(from, to);
  };
  if (time) take(recorded.time, time);
  for (const auto& name : inputs_of(inner_, first, last)) {
    if (activations.has(name)) take(recorded.inputs[name], activations.get(name));
  }
}

// From the fixed inputs to recorded.result, with what it did to the names.
void GraphedDenoiser::evaluate(Recorded& recorded, std::size_t first, std::size_t last,
                               const DenoiseInput& input) const {
  Exec exec{backend_, arena_};
  DenoiseInput fixed = input;
  fixed.time_embedding = recorded.time.view();
  Activations working;
  for (const auto& [name, tensor] : recorded.inputs) working.borrow(name, tensor);
  inner_.run(exec, first, last, fixed, working);
  recorded.made.clear();
  recorded.gone.clear();
  for (std::size_t i = first; i < last; ++i) {
    for (const auto& name : inner_.blocks()[i].writes) {
      if (working.has(name) && !contains(recorded.made, name)) recorded.made.push_back(name);
    }
  }
  for (const auto& [name, tensor] : recorded.inputs) {
    if (!working.has(name)) recorded.gone.push_back(name);
  }
  recorded.result = std::move(working);
}

// False where the evaluation did not take its memory from the arena's plan: such a graph would
// write to memory that others get.
bool GraphedDenoiser::capture(Recorded& recorded, std::size_t first, std::size_t last,
                              const DenoiseInput& input) const {
  const auto replayed = arena_.report().runs_replayed;
  std::shared_ptr<void> graph;
  try {
    graph = backend_.capture([&] { evaluate(recorded, first, last, input); });
  } catch (const Error& error) {
    // A call that no stream may capture is a slower evaluation, not a lost job.
    if (error.code() != ErrorCode::kResource) throw;
    log_warning("blocks {} to {} run op by op, since they cannot become a CUDA graph: {}", first,
                last, error.what());
    recorded.refused = true;
    ++report_.refused;
    return false;
  }
  if (arena_.report().runs_replayed != replayed + 1) return false;
  recorded.graph = std::move(graph);
  recorded.arena_block = arena_.report().blocks_made;
  ++report_.captured;
  return true;
}

void GraphedDenoiser::give_results(const Recorded& recorded, Exec& exec,
                                   Activations& activations) const {
  for (const auto& name : recorded.gone) activations.drop(name);
  for (const auto& name : recorded.made) {
    const ConstView from = recorded.result.get(name);
    Tensor to(exec.arena, from.dtype, from.shape);
    backend_.copy(from, to);
    activations.put(name, std::move(to));
  }
}

void GraphedDenoiser::run(Exec& exec, std::size_t first, std::size_t last,
                          const DenoiseInput& input, Activations& activations) const {
  if (first == last) return;
  ensure(&exec.backend == &backend_, "a denoiser was accelerated for another backend");
  const std::string key = key_of(inner_, first, last, input, activations);
  Recorded* recorded = graphs_.find(key);
  if (recorded == nullptr) recorded = &graphs_.put(key, Recorded());
  if (recorded->graph && recorded->arena_block != arena_.report().blocks_made) {
    recorded->graph.reset();  // its memory has moved
    recorded->uses = 1;
  }
  const Tensor time = inner_.time_embedding(exec, input.timestep);
  take_inputs(*recorded, first, last, time.view(), activations);
  if (!recorded->graph) {
    recorded->result = Activations();
    ++recorded->uses;
    if (recorded->uses <= kWarmUps || recorded->refused ||
        !capture(*recorded, first, last, input)) {
      recorded->result = Activations();
      evaluate(*recorded, first, last, input);
      ++report_.eager;
      return give_results(*recorded, exec, activations);
    }
  }
  backend_.launch(recorded->graph.get());
  ++report_.replayed;
  give_results(*recorded, exec, activations);
}

}  // namespace seamwright::model::cuda
