// The causal wavefront's tasks (tools/reference/causal.md): each window follows its predecessor's
// clean estimates on the frames they share.
#include <algorithm>

#include "base/error.h"
#include "worker/frame_math.h"
#include "worker/task_runner.h"

namespace seamwright::worker {

using scheduling::DataId;
using scheduling::DataKind;

// Where all that a window shares with its predecessor is known there is nothing to follow.
int TaskRunner::followed_frames(int window) const {
  return job_.schedule.follows(window) ? job_.schedule.shared(window).count() : 0;
}

int TaskRunner::lead_step(int step) const { return std::min(step + plan_.lag, plan_.steps - 1); }

// What was added last: by this level's rounds, by a stochastic sampler's step, by the rounds of an
// earlier level, or in the beginning. A frame keeps it while its content is exchanged, so that
// latents drawn to the predecessor's path can be mixed with the window's own (docs/adr/0020).
void TaskRunner::carried_noise(int frame, int level, int round, std::span<float> out) const {
  if (round > 0) {
    job_.noise.resample(frame, level, round, out);
  } else if (level == 0) {
    job_.noise.initial(frame, out);
  } else if (job_.sampler->stochastic(level - 1)) {
    job_.noise.sampler(frame, level - 1, out);
  } else {
    carried_noise(frame, level - 1, plan_.rounds - 1, out);
  }
}

void TaskRunner::renoise(int frame, int level, int round, std::span<const float> clean,
                         std::span<float> latent) const {
  std::vector<float> noise(clean.size());
  carried_noise(frame, level, round, noise);
  job_.sampler->add_noise(level, clean, noise, latent);
}

// The window's latents, its shared frames drawn to the predecessor's path at this noise level, the
// oldest wholly and the newest not at all; the sampler's history goes along,
// [L, 1 + history, C, h, w]. A window's first level and round has no state yet: it begins with its
// initial noise.
TaskRunner::Outputs TaskRunner::enter(const Task& t) {
  const auto n = frame_size();
  const auto frames = job_.schedule.window(0, t.window).frames;
  auto datum = std::make_shared<Datum>();
  if (t.step == 0 && t.round == 0) {
    for (int f : frames) {
      const auto state = initial_state(f);
      datum->values.insert(datum->values.end(), state.begin(), state.end());
    }
  } else {
    datum->values = store_.get({DataKind::kWindowState, t.window, t.step, t.round, 0, 0})->values;
  }
  const int shared = followed_frames(t.window);
  std::shared_ptr<Datum> leader;
  if (shared > 0) leader = store_.get({DataKind::kClean, t.window - 1, lead_step(t.step), 0, 0, 0});
  const int offset =
      shared > 0 ? static_cast<int>(job_.schedule.window(0, t.window - 1).frames.size()) - shared
                 : 0;
  const auto ramp = scheduling::causal_ramp(shared);
  std::vector<float> led(n);
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const auto latent = std::span(datum->values).subspan(i * state_size(), n);
    if (known(frames[i])) {
      job_.given->read(frames[i], led);
      renoise(frames[i], t.step, t.round, led, latent);
    } else if (static_cast<int>(i) < shared) {
      renoise(frames[i], t.step, t.round, leader->row(static_cast<int>(i) + offset, n), led);
      mix(ramp[i], led, latent, latent);
    }
  }
  Outputs outputs;
  outputs.emplace_back(DataId{DataKind::kInput, t.window, t.step, t.round, 0, 0}, std::move(datum));
  return outputs;
}

// Mixes the clean estimates of shared frames with the predecessor's; then either re-noises the
// whole window for the next round or takes the sampler's step.
TaskRunner::Outputs TaskRunner::mix_round(const Task& t) {
  const auto n = frame_size();
  const auto frames = job_.schedule.window(0, t.window).frames;
  const auto input = store_.get({DataKind::kInput, t.window, t.step, t.round, 0, 0});
  const auto prediction = store_.get({DataKind::kPrediction, t.window, t.step, t.round, 0, 0});
  const int shared = followed_frames(t.window);
  const auto ramp = scheduling::causal_ramp(shared);
  std::shared_ptr<Datum> leader;
  int offset = 0;
  if (shared > 0) {
    leader = store_.get({DataKind::kClean, t.window - 1, lead_step(t.step), 0, 0, 0});
    offset = static_cast<int>(job_.schedule.window(0, t.window - 1).frames.size()) - shared;
  }
  auto clean = std::make_shared<Datum>();
  clean->values.resize(frames.size() * n);
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const int position = static_cast<int>(i);
    const auto out = std::span(clean->values).subspan(i * n, n);
    job_.sampler->predict_x0(t.step, input->row(position, state_size()).first(n),
                             prediction->row(position, n), out);
    if (position < shared) mix(ramp[i], leader->row(position + offset, n), out, out);
    if (known(frames[i])) job_.given->read(frames[i], out);
  }
  Outputs outputs;
  if (t.round + 1 == plan_.rounds) {
    step_window(t, *input, *prediction, *clean, outputs);
    outputs.emplace_back(DataId{DataKind::kClean, t.window, t.step, 0, 0, 0}, std::move(clean));
    return outputs;
  }
  auto next = std::make_shared<Datum>();
  next->values = input->values;  // the sampler's history stays; latents are re-noised
  for (std::size_t i = 0; i < frames.size(); ++i) {
    renoise(frames[i], t.step, t.round + 1, clean->row(static_cast<int>(i), n),
            std::span(next->values).subspan(i * state_size(), n));
  }
  outputs.emplace_back(DataId{DataKind::kWindowState, t.window, t.step, t.round + 1, 0, 0},
                       std::move(next));
  return outputs;
}

// The sampler's own step, on the prediction that would have led to the mixed clean estimate.
void TaskRunner::step_window(const Task& t, const Datum& input, const Datum& prediction,
                             const Datum& clean, Outputs& out) const {
  const auto n = frame_size();
  const auto frames = job_.schedule.window(0, t.window).frames;
  const int shared = followed_frames(t.window);
  auto next = std::make_shared<Datum>();
  next->values.resize(frames.size() * state_size());
  std::vector<float> meant(n);
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const int position = static_cast<int>(i);
    const auto before = input.row(position, state_size());
    std::span<const float> used = prediction.row(position, n);
    if (position < shared || known(frames[i])) {
      job_.sampler->predict_output(t.step, before.first(n), clean.row(position, n), meant);
      used = meant;
    }
    sampler_step(t.step, frames[i], before, used,
                 std::span(next->values).subspan(i * state_size(), state_size()));
    if (t.step + 1 == plan_.steps && known(frames[i])) {
      job_.given->read(frames[i], std::span(next->values).subspan(i * state_size(), n));
    }
  }
  for (int f = t.first_frame; f >= 0 && f < t.first_frame + t.frame_count; ++f) {
    auto final_state = std::make_shared<Datum>();
    const auto at = static_cast<std::size_t>(f - frames.front()) * state_size();
    final_state->values.assign(
        next->values.begin() + static_cast<std::ptrdiff_t>(at),
        next->values.begin() + static_cast<std::ptrdiff_t>(at + state_size()));
    out.emplace_back(DataId{DataKind::kState, f, plan_.steps, 0, 0, 0}, std::move(final_state));
  }
  out.emplace_back(DataId{DataKind::kWindowState, t.window, t.step + 1, 0, 0, 0}, std::move(next));
}

}  // namespace seamwright::worker
