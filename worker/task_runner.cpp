#include "worker/task_runner.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.h"
#include "base/sha256.h"
#include "worker/frame_math.h"

namespace seamwright::worker {

using scheduling::DataId;
using scheduling::DataKind;
using scheduling::TaskKind;

namespace {

constexpr std::size_t kTaskKinds = 8;
constexpr std::size_t kDigestBytes = 32;

}  // namespace

TaskRunner::TaskRunner(const Job& job, const scheduling::PlanRequest& plan,
                       const std::vector<Visit>& visits, StageModel* stage,
                       const model::FrameCodec* codec, model::Exec exec, DataStore& store,
                       TaskHooks hooks)
    : job_(job),
      plan_(plan),
      visits_(visits),
      stage_(stage),
      codec_(codec),
      exec_(exec),
      store_(store),
      hooks_(std::move(hooks)),
      seconds_(kTaskKinds) {}

double TaskRunner::seconds(TaskKind kind) const { return seconds_[static_cast<std::size_t>(kind)]; }

void TaskRunner::run(const scheduling::PlannedTask& planned) {
  const auto begin = std::chrono::steady_clock::now();
  auto made = compute(planned);
  if (planned.checkpoint && hooks_.save_record) save(planned.task, made);
  publish(planned, std::move(made), store_);
  ++tasks_done_;
  seconds_[static_cast<std::size_t>(planned.task.kind)] +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

TaskRunner::Outputs TaskRunner::compute(const scheduling::PlannedTask& planned) {
  switch (planned.task.kind) {
    case TaskKind::kSource:
      return source(planned);
    case TaskKind::kForward:
      return forward(planned);
    case TaskKind::kCombine:
      return combine(planned.task);
    case TaskKind::kAdvance:
      return advance(planned.task);
    case TaskKind::kEnter:
      return enter(planned.task);
    case TaskKind::kMix:
      return mix_round(planned.task);
    case TaskKind::kDecode:
      return decode(planned.task);
    case TaskKind::kEmit:
      return emit(planned.task);
  }
  fail(ErrorCode::kInternal, "unknown task {}", scheduling::to_string(planned.task));
}

std::size_t TaskRunner::state_size() const {
  return frame_size() * (job_.sampler->uses_history() ? 2 : 1);
}

std::vector<float> TaskRunner::initial_state(int frame) const {
  std::vector<float> state(state_size(), 0.0F);
  const auto latent = std::span(state).first(frame_size());
  job_.noise.initial(frame, latent);
  if (job_.given && job_.given->starts_from(frame)) {
    std::vector<float> clean(latent.size());
    job_.given->read(frame, clean);
    job_.sampler->add_noise(0, clean, latent, latent);
    return state;
  }
  for (float& v : latent) v *= job_.sampler->init_noise_sigma();
  return state;
}

void TaskRunner::hold_known(int level, int frame, std::span<float> latent) const {
  if (!known(frame)) return;
  job_.given->read(frame, latent);
  if (level == plan_.steps) return;
  std::vector<float> noise(latent.size());
  job_.noise.resample(frame, level, 0, noise);
  job_.sampler->add_noise(level, latent, noise, latent);
}

TaskRunner::Outputs TaskRunner::source(const scheduling::PlannedTask& planned) {
  if (planned.task.step > 0) return load(planned);
  Outputs out;
  for (const auto& ref : planned.outputs) {
    auto datum = std::make_shared<Datum>();
    if (ref.id.kind == DataKind::kState) {
      datum->values = initial_state(ref.id.at);
    } else {
      for (int f : job_.schedule.window(0, ref.id.at).frames) {
        const auto state = initial_state(f);
        datum->values.insert(datum->values.end(), state.begin(), state.end());
      }
    }
    out.emplace_back(ref.id, std::move(datum));
  }
  return out;
}

// What the network reads of a window at the task's step.
model::Tensor TaskRunner::sample_of(const Task& t, const std::vector<int>& frames) {
  std::vector<std::shared_ptr<Datum>> held;
  std::vector<std::span<const float>> latents;
  std::vector<std::vector<float>> given(frames.size());
  std::vector<bool> clean(frames.size(), false);
  const bool causal = plan_.coherence == scheduling::Coherence::kCausal;
  if (causal) held.push_back(store_.get({DataKind::kInput, t.window, t.step, t.round, 0, 0}));
  for (std::size_t i = 0; i < frames.size(); ++i) {
    if (!causal) held.push_back(store_.get({DataKind::kState, frames[i], t.step, 0, 0, 0}));
    if (job_.clean_known_frames && known(frames[i])) {
      clean[i] = true;
      given[i].resize(frame_size());
      job_.given->read(frames[i], given[i]);
      latents.emplace_back(given[i]);
    } else if (causal) {
      latents.push_back(held.front()->row(static_cast<int>(i), state_size()).first(frame_size()));
    } else {
      latents.push_back(std::span<const float>(held.back()->values).first(frame_size()));
    }
  }
  return stage_->make_sample(t.step, latents, clean);
}

TaskRunner::Outputs TaskRunner::forward(const scheduling::PlannedTask& planned) {
  const Task& t = planned.task;
  const auto frames = job_.schedule.window(t.step, t.window).frames;
  const bool last = t.visit + 1 == static_cast<int>(visits_.size());
  model::Activations activations;
  if (t.visit == 0) {
    activations.put("sample", sample_of(t, frames));
  } else {
    for (const auto& id : planned.inputs) {
      // The last use of what crossed the cut: taken, not copied.
      activations.merge(std::move(store_.get(id)->activations));
    }
  }
  const Visit& visit = visits_[static_cast<std::size_t>(t.visit)];
  stage_->run(visit.blocks, t.step, t.branch, frames, activations);
  ++forwards_;

  Outputs out;
  auto datum = std::make_shared<Datum>();
  if (last) {
    datum->values = stage_->read_prediction(activations.get("prediction"));
    out.emplace_back(DataId{DataKind::kBranchOutput, t.window, t.step, t.round, t.branch, 0},
                     std::move(datum));
  } else {
    for (const auto& name : visit.sends) {
      // Some are read both in the next visits and, folded, by a later one here.
      const bool kept =
          std::find(visit.keeps.begin(), visit.keeps.end(), name) != visit.keeps.end();
      datum->activations.put(name, kept ? copy_of(activations.get(name)) : activations.take(name));
    }
    out.emplace_back(DataId{DataKind::kActivation, t.window, t.step, t.round, t.branch, t.visit},
                     std::move(datum));
    auto kept = std::make_shared<Datum>();
    for (const auto& name : visit.keeps) kept->activations.put(name, activations.take(name));
    out.emplace_back(DataId{DataKind::kRetained, t.window, t.step, t.round, t.branch, t.visit},
                     std::move(kept));
  }
  return out;
}

model::Tensor TaskRunner::copy_of(model::ConstView view) const {
  model::Tensor copy(exec_.backend.memory(), view.dtype, view.shape);
  exec_.backend.copy(view, copy);
  return copy;
}

TaskRunner::Outputs TaskRunner::combine(const Task& t) {
  auto datum = std::make_shared<Datum>();
  const auto output = [&](int branch) {
    return store_.get({DataKind::kBranchOutput, t.window, t.step, t.round, branch, 0});
  };
  if (job_.branches == 1) {
    datum->values = output(0)->values;
  } else {
    const auto unconditional = output(0), conditional = output(1);
    datum->values.resize(conditional->values.size());
    guide(unconditional->values, conditional->values, static_cast<float>(job_.request.guidance),
          datum->values);
  }
  Outputs out;
  out.emplace_back(DataId{DataKind::kPrediction, t.window, t.step, t.round, 0, 0},
                   std::move(datum));
  return out;
}

void TaskRunner::sampler_step(int step, int frame, std::span<const float> state,
                              std::span<const float> prediction, std::span<float> next) const {
  const auto n = frame_size();
  std::vector<float> noise;
  if (job_.sampler->stochastic(step)) {
    noise.resize(n);
    job_.noise.sampler(frame, step, noise);
  }
  std::copy(state.begin() + static_cast<std::ptrdiff_t>(n), state.end(),
            next.begin() + static_cast<std::ptrdiff_t>(n));
  job_.sampler->step(step, state.first(n), prediction, noise, next.subspan(n), next.first(n));
}

TaskRunner::Outputs TaskRunner::advance(const Task& t) {
  Outputs out;
  const auto n = frame_size();
  std::vector<float> fused(n);
  for (int f = t.first_frame; f < t.first_frame + t.frame_count; ++f) {
    std::vector<scheduling::Window> windows;
    for (int w : job_.schedule.covering(t.step, f))
      windows.push_back(job_.schedule.window(t.step, w));
    std::vector<std::shared_ptr<Datum>> held;
    std::vector<WeightedPrediction> terms;
    for (const auto& term : scheduling::fusion_terms(job_.fusion, windows, f, job_.request.overlap,
                                                     static_cast<int>(job_.request.frames))) {
      held.push_back(store_.get({DataKind::kPrediction, term.window, t.step, 0, 0, 0}));
      terms.push_back({held.back()->row(term.position, n), term.weight});
    }
    fuse(terms, fused);
    const auto state = store_.get({DataKind::kState, f, t.step, 0, 0, 0});
    auto datum = std::make_shared<Datum>();
    datum->values.resize(state_size());
    sampler_step(t.step, f, state->values, fused, datum->values);
    hold_known(t.step + 1, f, std::span(datum->values).first(n));
    out.emplace_back(DataId{DataKind::kState, f, t.step + 1, 0, 0, 0}, std::move(datum));
  }
  return out;
}

// Only puts work on the device, where there is one: whoever needs the pixels waits for them.
TaskRunner::Outputs TaskRunner::decode(const Task& t) {
  const auto n = frame_size();
  const auto& s = job_.latent;
  std::vector<std::shared_ptr<Datum>> held;
  std::vector<std::span<const float>> latents;
  std::vector<float> rows(static_cast<std::size_t>(t.frame_count) * n);
  for (int i = 0; i < t.frame_count; ++i) {
    held.push_back(store_.get({DataKind::kState, t.first_frame + i, plan_.steps, 0, 0, 0}));
    latents.push_back(std::span<const float>(held.back()->values).first(n));
    if (!std::ranges::all_of(latents.back(), [](float v) { return std::isfinite(v); })) {
      fail(ErrorCode::kCorrupt,
           "frame {} is not made of finite numbers: weights of the model are damaged, or {} does "
           "not "
           "reach far enough for them; try --precision fp32",
           t.first_frame + i, job_.request.precision);
    }
    planes_to_rows(latents.back(), static_cast<int>(s.channels),
                   std::span(rows).subspan(static_cast<std::size_t>(i) * n, n));
  }
  auto datum = std::make_shared<Datum>();
  const auto header = static_cast<std::size_t>(t.frame_count) * kDigestBytes;
  const auto pixels = decode_pixels(
      exec_, *codec_,
      {rows.data(), model::DType::kF32, {t.frame_count, s.height, s.width, s.channels}});
  datum->pixels.resize(header + pixels.view().bytes());
  datum->arriving = exec_.backend.read_back(
      pixels, std::as_writable_bytes(std::span(datum->pixels).subspan(header)));
  for (std::size_t i = 0; i < latents.size(); ++i) {  // beside the device
    const auto digest = sha256(std::as_bytes(latents[i]));
    std::ranges::copy(digest,
                      datum->pixels.begin() + static_cast<std::ptrdiff_t>(i * digest.size()));
    if (hooks_.carry_latents) {
      datum->values.insert(datum->values.end(), latents[i].begin(), latents[i].end());
    }
  }
  Outputs out;
  out.emplace_back(DataId{DataKind::kPixels, t.chunk, 0, 0, 0, 0}, std::move(datum));
  return out;
}

TaskRunner::Outputs TaskRunner::emit(const Task& t) {
  const auto datum = store_.get({DataKind::kPixels, t.chunk, 0, 0, 0, 0});
  const auto header = static_cast<std::size_t>(t.frame_count) * kDigestBytes;
  const std::span<const std::uint8_t> bytes = datum->pixels;
  DecodedChunk chunk{t.first_frame,
                     t.frame_count,
                     bytes.first(header),
                     bytes.subspan(header),
                     datum->values,
                     datum,
                     {}};
  if (datum->arriving) chunk.arrive = [datum] { datum->wait_for_pixels(); };
  hooks_.emit(chunk);
  return {};
}

}  // namespace seamwright::worker
