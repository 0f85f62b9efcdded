#include "scheduling/causal_driver.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "scheduling/local_driver.h"

namespace seamwright::scheduling {

CausalDriver::CausalDriver(ListScheduler& scheduler, const PlanRequest& request,
                           const Layout& layout, const CostTable& costs, const ResumeState& resume)
    : scheduler_(scheduler),
      request_(request),
      layout_(layout),
      costs_(costs),
      schedule_(request.windows),
      needs_(request, schedule_, resume),
      placement_(request, layout, costs),
      spread_(
          request, layout, costs, first_missing_chunk(request, resume),
          [this](int frame) { return placement_.group(0, schedule_.covering(0, frame).back()); }),
      forward_(scheduler, request, layout, costs, hooks()),
      output_(scheduler, request, layout, costs, spread_, first_missing_chunk(request, resume)),
      chunks_(chunk_count(request)),
      windows_(schedule_.window_count(0)),
      window_frames_(std::min(request.windows.window, request.windows.frames)),
      first_missing_frame_(resume.first_missing_frame),
      band_(streaming_band(request, layout)) {}

ForwardChain::Hooks CausalDriver::hooks() {
  ForwardChain::Hooks hooks;
  hooks.group = [this](int, int window) { return placement_.group(0, window); };
  hooks.inputs = [](int step, int window, int round) {
    return std::vector<DataId>{{DataKind::kInput, window, step, round}};
  };
  hooks.prediction = [this](int step, int window, int round) {
    const int group = placement_.group(0, window);
    const bool here = layout_.home_rank(group) == layout_.last_rank(group);
    return Output{{DataKind::kPrediction, window, step, round},
                  window_frames_ * costs_.sizes.latent_frame_bytes,
                  here ? 1 : 0,
                  here ? 0 : 1};
  };
  return hooks;
}

std::pair<int, int> CausalDriver::final_frames(int window) const {
  const int first = schedule_.static_start(window);
  const int end =
      window + 1 < windows_ ? schedule_.static_start(window + 1) : request_.windows.frames;
  return {first, end - first};
}

std::vector<int> CausalDriver::shared_positions(int window) const {
  const auto shared = schedule_.shared(window + 1);
  std::vector<int> positions(static_cast<std::size_t>(shared.count()));
  std::iota(positions.begin(), positions.end(), shared.begin - schedule_.static_start(window));
  return positions;
}

int CausalDriver::clean_reads(int window, int step) const {
  int reads = 0;
  for (int own = 0; own < request_.steps; ++own) {
    if (followed_step(request_, own) == step && needs_.window(own, window)) {
      reads += 2 * request_.rounds;  // entering and mixing
    }
  }
  return reads;
}

void CausalDriver::start() {
  if (complete()) return;
  next_window_ = needs_.first_window();
  admit();
}

void CausalDriver::admit() {
  if (complete()) return;
  const int frame = spread_.first_frame(output_.next_chunk());
  const int oldest = schedule_.covering(0, frame).front();
  const int end = static_cast<int>(
      std::min<long>(windows_, static_cast<long>(std::max(oldest, needs_.first_window())) + band_));
  for (; next_window_ < end; ++next_window_) {
    for (int level = 1; level <= request_.steps; ++level) source(next_window_, level);
    if (needs_.window(0, next_window_)) {
      waiting_.insert({next_window_, 0, 0});
      try_enter(next_window_, 0, 0);
    }
  }
  if (oldest > needs_.first_fresh_window()) {
    // All windows before the oldest are finished.
    clean_there_.erase(clean_there_.begin(), clean_there_.lower_bound({oldest - 1, 0}));
    placement_.forget_before(oldest - 1);
  }
  spread_.forget_before(output_.next_chunk());
}

void CausalDriver::source(int window, int level) {
  const bool state = needs_.source_state(window, level);
  const bool clean = needs_.source_clean(window, level - 1);
  if (!state && !clean) return;
  const int rank = home(window);
  ReadyTask ready;
  ready.task.kind = TaskKind::kSource;
  ready.task.window = window;
  ready.task.step = level;
  ready.rank = rank;
  ready.seconds = costs_.source_frame_s * window_frames_;
  ready.priority = {0, window, level, 0, 0};
  if (state && level == request_.steps) {
    ready.outputs = final_outputs(window, rank, ready.task.first_frame, ready.task.frame_count);
  } else if (state) {
    ready.outputs.push_back({{DataKind::kWindowState, window, level, 0},
                             window_frames_ * costs_.sizes.state_frame_bytes(),
                             1,
                             0});
  }
  if (clean) ready.outputs.push_back(clean_output(window, level - 1, rank));
  scheduler_.ready(std::move(ready));
}

std::vector<Output> CausalDriver::final_outputs(int window, int rank, int& first, int& count) {
  std::vector<Output> outputs;
  std::tie(first, count) = final_frames(window);
  const int skipped = std::clamp(first_missing_frame_ - first, 0, count);
  first += skipped;
  count -= skipped;
  for (int frame = first; frame < first + count; ++frame) {
    const bool here = spread_.rank(spread_.chunk_of(frame)) == rank;
    outputs.push_back({{DataKind::kState, frame, request_.steps},
                       costs_.sizes.state_frame_bytes(),
                       here ? 1 : 0,
                       here ? 0 : 1});
  }
  return outputs;
}

Output CausalDriver::clean_output(int window, int step, int rank) {
  const bool here = home(window + 1) == rank;
  const std::int64_t shared = schedule_.shared(window + 1).count();
  return {{DataKind::kClean, window, step},
          shared * costs_.sizes.latent_frame_bytes,
          here ? clean_reads(window + 1, step) : 0,
          here ? 0 : 1};
}

void CausalDriver::try_enter(int window, int step, int round) {
  const int followed = followed_step(request_, step);
  if (needs_.follows(window) && !clean_there_.contains({window - 1, followed})) return;
  waiting_.erase({window, step, round});
  ReadyTask ready;
  ready.task.kind = TaskKind::kEnter;
  ready.task.window = window;
  ready.task.step = step;
  ready.task.round = round;
  ready.rank = home(window);
  ready.seconds = costs_.advance_frame_s * window_frames_;
  ready.priority = {0, window, step, round, 0};
  if (step > 0 || round > 0) ready.inputs.push_back({DataKind::kWindowState, window, step, round});
  if (needs_.follows(window)) ready.inputs.push_back({DataKind::kClean, window - 1, followed});
  ready.outputs.push_back({{DataKind::kInput, window, step, round},
                           window_frames_ * costs_.sizes.state_frame_bytes(),
                           request_.branches + 1,
                           0});
  scheduler_.ready(std::move(ready));
}

void CausalDriver::on_clean(int window, int step) {
  clean_there_.insert({window, step});
  std::vector<std::tuple<int, int, int>> candidates;
  for (auto it = waiting_.lower_bound({window + 1, 0, 0});
       it != waiting_.end() && std::get<0>(*it) == window + 1; ++it) {
    candidates.push_back(*it);
  }
  for (const auto& [successor, own, round] : candidates) try_enter(successor, own, round);
}

void CausalDriver::mix(int step, int window, int round) {
  const int rank = home(window);
  const bool last_round = round == request_.rounds - 1;
  ReadyTask ready;
  ready.task.kind = TaskKind::kMix;
  ready.task.window = window;
  ready.task.step = step;
  ready.task.round = round;
  ready.rank = rank;
  ready.seconds = costs_.advance_frame_s * window_frames_;
  ready.priority = {0, window, step, round, 0};
  ready.inputs.push_back({DataKind::kPrediction, window, step, round});
  ready.inputs.push_back({DataKind::kInput, window, step, round});
  if (needs_.follows(window)) {
    ready.inputs.push_back({DataKind::kClean, window - 1, followed_step(request_, step)});
  }
  const std::int64_t state_bytes = window_frames_ * costs_.sizes.state_frame_bytes();
  if (!last_round) {
    ready.outputs.push_back({{DataKind::kWindowState, window, step, round + 1}, state_bytes, 1, 0});
  } else {
    if (step + 1 < request_.steps && needs_.window(step + 1, window)) {
      ready.outputs.push_back({{DataKind::kWindowState, window, step + 1, 0}, state_bytes, 1, 0});
    }
    if (needs_.clean(window, step)) ready.outputs.push_back(clean_output(window, step, rank));
    if (step + 1 == request_.steps && needs_.state(window, request_.steps)) {
      for (auto& output :
           final_outputs(window, rank, ready.task.first_frame, ready.task.frame_count)) {
        ready.outputs.push_back(output);
      }
    }
    // Every level, whatever the interval: the successor follows each clean estimate, maybe long
    // after this window has gone on.
    ready.checkpoint = request_.checkpoint_interval > 0;
  }
  scheduler_.ready(std::move(ready));
}

// What a mix or a record left at the window's home goes on from there.
void CausalDriver::on_mixed(const PlannedTask& done) {
  const int window = done.task.window;
  for (const auto& output : done.outputs) {
    if (output.id.kind == DataKind::kWindowState) {
      waiting_.insert({window, output.id.step, output.id.round});
      try_enter(window, output.id.step, output.id.round);
    } else if (output.id.kind == DataKind::kClean) {
      const int to = home(window + 1);
      if (to == done.rank) {
        on_clean(window, output.id.step);
      } else {
        scheduler_.send(done.rank, to,
                        {{output.id, output.bytes, clean_reads(window + 1, output.id.step)}},
                        shared_positions(window));
      }
    }
  }
  pass_final_frames(done);
}

void CausalDriver::pass_final_frames(const PlannedTask& done) {
  std::vector<DataRef> run;
  int run_chunk = -1;
  const auto flush = [&] {
    if (run.empty()) return;
    scheduler_.send(done.rank, spread_.rank(run_chunk), std::exchange(run, {}), {});
  };
  for (int i = 0; i < done.task.frame_count; ++i) {
    const int frame = done.task.first_frame + i;
    const int chunk = spread_.chunk_of(frame);
    if (chunk != run_chunk) flush();
    run_chunk = chunk;
    if (spread_.rank(chunk) == done.rank) {
      output_.on_final_frame(frame);
    } else {
      run.push_back(
          {{DataKind::kState, frame, request_.steps}, costs_.sizes.state_frame_bytes(), 1});
    }
  }
  flush();
}

void CausalDriver::on_done(const PlannedTask& done) {
  const Task& task = done.task;
  switch (task.kind) {
    case TaskKind::kSource:
    case TaskKind::kMix:
      on_mixed(done);
      break;
    case TaskKind::kEnter:
      forward_.start(task.step, task.window, task.round);
      break;
    case TaskKind::kForward:
      forward_.on_done(done);
      break;
    case TaskKind::kCombine:
      if (home(task.window) == done.rank) {
        mix(task.step, task.window, task.round);
      } else {
        const DataRef ref{{DataKind::kPrediction, task.window, task.step, task.round},
                          window_frames_ * costs_.sizes.latent_frame_bytes,
                          1};
        scheduler_.send(done.rank, home(task.window), {ref}, {});
      }
      break;
    case TaskKind::kDecode:
      output_.on_decoded(done);
      break;
    case TaskKind::kEmit:
      output_.on_emitted(done);
      admit();
      break;
    case TaskKind::kAdvance:
      fail(ErrorCode::kInternal, "{} in causal mode", to_string(task));
  }
}

void CausalDriver::on_arrival(const Message& message) {
  const DataId& id = message.data.front().id;
  switch (id.kind) {
    case DataKind::kActivation:
      forward_.on_activation(message);
      break;
    case DataKind::kPrediction:
      mix(id.step, id.at, id.round);
      break;
    case DataKind::kClean:
      on_clean(id.at, id.step);
      break;
    case DataKind::kState:
      for (const auto& ref : message.data) output_.on_final_frame(ref.id.at);
      break;
    case DataKind::kPixels:
      output_.on_pixels(id.at);
      break;
    default:
      fail(ErrorCode::kInternal, "{} travelled", to_string(id));
  }
}

}  // namespace seamwright::scheduling
