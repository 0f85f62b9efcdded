#include "bench/emulated_runner.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "scheduling/simulator.h"

namespace seamwright::bench {

using scheduling::DataId;
using scheduling::DataKind;
using scheduling::DataRef;
using scheduling::PlannedTask;
using scheduling::TaskKind;
using worker::Datum;

namespace {

constexpr std::size_t kHashFloats = sizeof(std::uint64_t) / sizeof(float);

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t z = a * 0x9e3779b97f4a7c15U + b + 0x632be59bd9b4e019U;
  z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31U);
}

// Every row of a datum begins with its hash; the rest is there for its size.
std::uint64_t row_hash(std::span<const float> row) {
  std::uint64_t hash = 0;
  std::memcpy(&hash, row.data(), sizeof(hash));
  return hash;
}

void set_hash(std::span<float> row, std::uint64_t hash) {
  std::memcpy(row.data(), &hash, sizeof(hash));
}

bool by_position(DataKind kind) {
  return kind == DataKind::kPrediction || kind == DataKind::kBranchOutput;
}

}  // namespace

EmulatedRunner::EmulatedRunner(const scheduling::PlanRequest& plan,
                               const scheduling::CostTable& costs, const EmulationOptions& options,
                               worker::DataStore& store, std::shared_ptr<worker::DatumPool> pool)
    : plan_(plan),
      schedule_(plan.windows),
      costs_(costs),
      options_(options),
      store_(store),
      pool_(std::move(pool)) {
  if (plan.coherence != scheduling::Coherence::kLocal) {
    fail(ErrorCode::kUnsupported, "emulation knows local coherence only");
  }
}

std::size_t EmulatedRunner::row_size(const DataId& id, std::size_t floats) const {
  if (!by_position(id.kind)) return floats;
  return static_cast<std::size_t>(costs_.sizes.latent_frame_bytes) / sizeof(float);
}

std::shared_ptr<Datum> EmulatedRunner::datum(const DataRef& ref, std::uint64_t hash) const {
  auto made =
      pool_->take(std::max(static_cast<std::size_t>(ref.bytes) / sizeof(float), kHashFloats));
  const std::size_t row = row_size(ref.id, made->values.size());
  for (std::size_t at = 0; at + row <= made->values.size(); at += row) {
    set_hash(std::span(made->values).subspan(at, row), mix(hash, at / row));
  }
  return made;
}

// The frame's state, and the predictions of all windows that cover it; inputs come in ascending
// order.
std::uint64_t EmulatedRunner::frame_hash(int step, const std::vector<DataId>& inputs,
                                         int frame) const {
  std::uint64_t hash = mix(0xf5, static_cast<std::uint64_t>(frame));
  for (const DataId& id : inputs) {
    if (id.kind == DataKind::kState && id.at == frame) {
      hash = mix(hash, row_hash(store_.get(id)->values));
    }
    if (id.kind != DataKind::kPrediction) continue;
    const auto frames = schedule_.window(step, id.at).frames;
    const auto found = std::ranges::find(frames, frame);
    if (found == frames.end()) continue;
    const auto held = store_.get(id);
    const auto row = held->row(static_cast<int>(found - frames.begin()), row_size(id, 0));
    hash = mix(hash, row_hash(row));
  }
  return hash;
}

std::uint64_t EmulatedRunner::input_hash(const PlannedTask& planned) const {
  std::vector<DataId> inputs = planned.inputs;
  std::ranges::sort(inputs);
  std::uint64_t hash = 0;
  for (const DataId& id : inputs) {
    const auto held = store_.get(id);
    const std::size_t row = row_size(id, held->values.size());
    for (std::size_t at = 0; at + row <= held->values.size(); at += row) {
      hash = mix(hash, row_hash(std::span(held->values).subspan(at, row)));
    }
  }
  return hash;
}

// Where a micro-batch has got to does not depend on how many stages it passed: later visits hand
// on what the first one made of its inputs.
std::uint64_t EmulatedRunner::key_of(const Task& task, std::uint64_t inputs) const {
  std::uint64_t hash = mix(static_cast<std::uint64_t>(task.window), inputs);
  hash = mix(hash, static_cast<std::uint64_t>(task.step));
  return mix(hash, static_cast<std::uint64_t>(task.branch));
}

// What the visit before handed on; what stayed here for a folded visit has to be of the same
// micro-batch.
std::uint64_t EmulatedRunner::carried_hash(const PlannedTask& planned) const {
  std::uint64_t hash = 0, kept = 0;
  for (const DataId& id : planned.inputs) {
    (id.kind == DataKind::kRetained ? kept : hash) = row_hash(store_.get(id)->values);
  }
  return kept == 0 || kept == hash ? hash : ~hash;
}

void EmulatedRunner::take_time(const Task& task, Clock::time_point begin) {
  const double seconds = costs_.visit_s[static_cast<std::size_t>(task.visit)] *
                         scheduling::jitter_factor(options_.seed, options_.jitter, task);
  busy_seconds_ += seconds;
  if (seconds <= 0) return;
  const auto end =
      begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  std::this_thread::sleep_until(end);
  late_seconds_ += std::chrono::duration<double>(Clock::now() - end).count();
}

void EmulatedRunner::run(const PlannedTask& planned) {
  const auto begin = Clock::now();
  const Task& task = planned.task;
  worker::TaskOutputs made;
  std::uint64_t hash = 0;
  if (task.kind == TaskKind::kForward) {
    hash = task.visit == 0 ? mix(key_of(task, input_hash(planned)), 0) : carried_hash(planned);
  } else if (task.kind != TaskKind::kAdvance && task.kind != TaskKind::kSource) {
    hash = key_of(task, input_hash(planned));
  }
  std::vector<DataId> sorted;
  if (task.kind == TaskKind::kAdvance) {
    sorted = planned.inputs;
    std::ranges::sort(sorted);
  }
  for (const DataRef& ref : planned.outputs) {
    std::uint64_t value = hash;
    if (task.kind == TaskKind::kSource) {
      value = mix(options_.seed, static_cast<std::uint64_t>(ref.id.at));
    } else if (task.kind == TaskKind::kAdvance) {
      value = frame_hash(task.step, sorted, ref.id.at);
    }
    auto one = datum(ref, value);
    // Carried on unchanged, whatever the number of visits.
    if (task.kind == TaskKind::kForward && !by_position(ref.id.kind)) set_hash(one->values, value);
    made.emplace_back(ref.id, std::move(one));
  }
  if (task.kind == TaskKind::kForward) {
    ++forwards_;
    take_time(task, begin);
  }
  if (task.kind == TaskKind::kEmit) {
    if (first_output_ == Clock::time_point{}) first_output_ = Clock::now();
    hash_ = mix(hash_, hash);
  }
  worker::publish(planned, std::move(made), store_);
}

}  // namespace seamwright::bench
