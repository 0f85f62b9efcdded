#include "scheduling/local_driver.h"

#include <algorithm>

#include "base/error.h"

namespace seamwright::scheduling {

int chunk_count(const PlanRequest& request) {
  if (request.windows.frames == kEndless) return kEndless;
  return (request.windows.frames + request.decode_frames - 1) / request.decode_frames;
}

int first_missing_chunk(const PlanRequest& request, const ResumeState& resume) {
  // On the grid, or at the end of the video.
  return (resume.first_missing_frame + request.decode_frames - 1) / request.decode_frames;
}

int streaming_band(const PlanRequest& request, const Layout& layout) {
  const int per_group = layout.stages == 1 ? 2 : std::min(6, 2 + layout.stages);
  const int advance = request.windows.window - request.windows.overlap;
  const int held_for_decoding = (request.decode_frames + request.windows.window) / advance + 1;
  return request.steps + per_group * layout.groups + held_for_decoding;
}

LocalDriver::LocalDriver(ListScheduler& scheduler, const PlanRequest& request, const Layout& layout,
                         const CostTable& costs, const ResumeState& resume)
    : scheduler_(scheduler),
      request_(request),
      layout_(layout),
      costs_(costs),
      graph_(request, layout, costs, resume),
      forward_(scheduler, request, layout, costs, hooks()),
      output_(scheduler, request, layout, costs, graph_.decoding(),
              first_missing_chunk(request, resume)),
      chunks_(chunk_count(request)),
      band_(request.order == Order::kStreaming ? streaming_band(request, layout) : kEndless) {}

ForwardChain::Hooks LocalDriver::hooks() {
  ForwardChain::Hooks hooks;
  hooks.group = [this](int step, int window) { return graph_.group(step, window); };
  hooks.inputs = [this](int step, int window, int) {
    std::vector<DataId> inputs;
    for (const int frame : graph_.frames(step, window)) {
      inputs.push_back({DataKind::kState, frame, step});
    }
    return inputs;
  };
  hooks.prediction = [this](int step, int window, int) {
    const int own = graph_.group(step, window);
    const int frames = std::min(request_.windows.window, request_.windows.frames);
    Output output{
        {DataKind::kPrediction, window, step}, frames * costs_.sizes.latent_frame_bytes, 0, 0};
    for (const int group : reading_groups(step, window)) {
      if (layout_.home_rank(group) == layout_.last_rank(own)) {
        output.reads = prediction_reads(step, window, group);
      } else {
        ++output.sends;
      }
    }
    return output;
  };
  return hooks;
}

void LocalDriver::start() {
  if (complete()) return;
  if (!graph_.schedule().is_static()) {
    for (int step = 0; step < request_.steps; ++step) {
      for (int w = 0; w < graph_.schedule().window_count(step); ++w) source_window(step, w);
    }
    const int last = request_.steps - 1;
    for (int w = 0; w < graph_.schedule().window_count(last); ++w) source_final_frames(last, w);
    return;
  }
  next_window_ = graph_.needs().first_window();
  admit();
}

void LocalDriver::admit() {
  if (!graph_.schedule().is_static() || complete()) return;
  const int frame = graph_.decoding().first_frame(output_.next_chunk());
  const int oldest = graph_.schedule().covering(0, frame).front();
  const int count = graph_.schedule().window_count(0);
  const int end =
      band_ == kEndless
          ? count
          : static_cast<int>(std::min<long>(
                count, static_cast<long>(std::max(oldest, graph_.needs().first_window())) + band_));
  for (; next_window_ < end; ++next_window_) {
    for (int step = 0; step < request_.steps; ++step) source_window(step, next_window_);
    source_final_frames(request_.steps - 1, next_window_);
  }
  // What unfinished frames depend on reaches back one window's reach for each step at most.
  const int reach = request_.windows.window / (request_.windows.window - request_.windows.overlap);
  const long back = (request_.steps + 2L) * (reach + 1L);
  if (oldest > back) graph_.forget_before(static_cast<int>(oldest - back), output_.next_chunk());
}

void LocalDriver::source_window(int step, int window) {
  if (!graph_.needs().window(step, window)) return;
  const int group = graph_.group(step, window);
  int first = 0;
  int count = 0;
  const auto flush = [&] {
    if (count > 0) source(step, layout_.home_rank(group), first, count);
    count = 0;
  };
  for (const int frame : graph_.frames(step, window)) {
    bool mine = graph_.needs().source(frame, step);
    for (const int earlier : graph_.schedule().covering(step, frame)) {
      if (!mine || earlier >= window) break;
      // An earlier window of the same group has brought it already.
      mine = !(graph_.needs().window(step, earlier) && graph_.group(step, earlier) == group);
    }
    if (count > 0 && (!mine || frame != first + count)) flush();
    if (!mine) continue;
    if (count++ == 0) first = frame;
  }
  flush();
}

void LocalDriver::source_final_frames(int step, int window) {
  const int first_output = graph_.decoding().first_frame(output_.next_chunk());
  for (const int frame : graph_.frames(step, window)) {
    if (frame < first_output || !graph_.needs().source(frame, request_.steps)) continue;
    if (graph_.schedule().covering(step, frame).front() != window) continue;
    source(request_.steps, graph_.holders(frame, request_.steps).front(), frame, 1);
  }
}

void LocalDriver::source(int level, int rank, int first, int count) {
  ReadyTask ready;
  ready.task.kind = TaskKind::kSource;
  ready.task.step = level;
  ready.task.first_frame = first;
  ready.task.frame_count = count;
  ready.rank = rank;
  ready.seconds = costs_.source_frame_s * count;
  ready.priority = {0, level, first, 0, 0};
  for (int frame = first; frame < first + count; ++frame) {
    const DataRef ref = state_ref(frame, level, rank);
    ready.outputs.push_back({ref.id, ref.bytes, ref.uses, 0});
  }
  scheduler_.ready(std::move(ready));
}

DataRef LocalDriver::state_ref(int frame, int level, int rank) {
  return {{DataKind::kState, frame, level},
          costs_.sizes.state_frame_bytes(),
          graph_.reads(frame, level, rank)};
}

void LocalDriver::on_state(int frame, int level, int rank) {
  if (level == request_.steps) {
    output_.on_final_frame(frame);
    return;
  }
  const int group = layout_.group_of_rank(rank);
  for (const int window : graph_.schedule().covering(level, frame)) {
    if (graph_.group(level, window) != group || !graph_.needs().window(level, window)) continue;
    const auto key = std::make_pair(window, level);
    const auto wanted = static_cast<int>(graph_.frames(level, window).size());
    if (++frames_there_[key] < wanted) continue;
    frames_there_.erase(key);
    forward_.start(level, window, 0);
  }
}

std::vector<int> LocalDriver::reading_groups(int step, int window) {
  std::vector<int> groups;
  for (const auto& segment : graph_.segments(step, window)) {
    groups.insert(groups.end(), segment.groups.begin(), segment.groups.end());
  }
  std::sort(groups.begin(), groups.end());
  groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
  return groups;
}

int LocalDriver::prediction_reads(int step, int window, int group) {
  int reads = 0;
  for (const auto& segment : graph_.segments(step, window)) {
    reads += std::binary_search(segment.groups.begin(), segment.groups.end(), group) ? 1 : 0;
  }
  return reads;
}

std::vector<int> LocalDriver::positions_for(int step, int window, int group) {
  std::vector<int> positions;
  const auto list = graph_.schedule().window(step, window).frames;
  for (std::size_t j = 0; j < list.size(); ++j) {
    for (const auto& segment : graph_.segments(step, window)) {
      if (segment.contains(list[j]) &&
          std::binary_search(segment.groups.begin(), segment.groups.end(), group)) {
        positions.push_back(static_cast<int>(j));
      }
    }
  }
  return positions;
}

void LocalDriver::on_combined(const PlannedTask& done) {
  const int step = done.task.step;
  const int window = done.task.window;
  for (const int group : reading_groups(step, window)) {
    const int home = layout_.home_rank(group);
    if (home == done.rank) {
      on_prediction(step, window, home);
      continue;
    }
    auto positions = positions_for(step, window, group);
    const auto bytes =
        static_cast<std::int64_t>(positions.size()) * costs_.sizes.latent_frame_bytes;
    const DataRef ref{
        {DataKind::kPrediction, window, step}, bytes, prediction_reads(step, window, group)};
    scheduler_.send(done.rank, home, {ref}, std::move(positions));
  }
}

void LocalDriver::on_prediction(int step, int window, int rank) {
  const int group = layout_.group_of_rank(rank);
  for (const auto& segment : graph_.segments(step, window)) {
    if (!std::binary_search(segment.groups.begin(), segment.groups.end(), group)) continue;
    const auto key = std::make_tuple(segment.first, step, group);
    if (++predictions_[key] < static_cast<int>(segment.windows.size())) continue;
    predictions_.erase(key);
    advance(segment, step, group);
  }
}

void LocalDriver::advance(const Segment& segment, int step, int group) {
  const bool first_owner = segment.groups.front() == group;
  const int home = layout_.home_rank(group);
  ReadyTask ready;
  ready.task.kind = TaskKind::kAdvance;
  ready.task.step = step;
  ready.task.first_frame = segment.first;
  ready.task.frame_count = segment.count;
  ready.rank = home;
  ready.seconds = costs_.advance_frame_s * segment.count;
  ready.priority = {0, step, segment.first, 0, 0};
  const int interval = request_.checkpoint_interval;
  // Every owner records, and the first that comes counts: what a window waits for to be durable
  // then lies in its own past, so that no order of tasks can make it wait for itself.
  ready.checkpoint = interval > 0 && (step + 1) % interval == 0 && step + 1 < request_.steps;
  for (int frame = segment.first; frame < segment.first + segment.count; ++frame) {
    ready.inputs.push_back({DataKind::kState, frame, step});
    const DataRef ref = state_ref(frame, step + 1, home);
    const int sends = first_owner ? static_cast<int>(segment.ranks.size()) : 0;
    ready.outputs.push_back({ref.id, ref.bytes, ref.uses, sends});
  }
  for (const int window : segment.windows) {
    ready.inputs.push_back({DataKind::kPrediction, window, step});
  }
  scheduler_.ready(std::move(ready));
}

void LocalDriver::on_advanced(const PlannedTask& done) {
  const Task& task = done.task;
  const int window = graph_.schedule().covering(task.step, task.first_frame).front();
  const auto& segments = graph_.segments(task.step, window);
  const auto found = std::find_if(segments.begin(), segments.end(), [&](const Segment& segment) {
    return segment.first == task.first_frame;
  });
  ensure(found != segments.end(), "no segment for {}", to_string(task));
  const Segment segment = *found;
  const int level = task.step + 1;
  if (segment.groups.front() == layout_.group_of_rank(done.rank)) {
    for (const int rank : segment.ranks) {
      std::vector<DataRef> frames;
      for (int i = 0; i < segment.count; ++i) {
        frames.push_back(state_ref(segment.first + i, level, rank));
      }
      scheduler_.send(done.rank, rank, std::move(frames), {});
    }
  }
  for (int frame = segment.first; frame < segment.first + segment.count; ++frame) {
    if (graph_.reads(frame, level, done.rank) > 0) on_state(frame, level, done.rank);
  }
}

void LocalDriver::on_done(const PlannedTask& done) {
  const Task& task = done.task;
  switch (task.kind) {
    case TaskKind::kSource:
      for (int frame = task.first_frame; frame < task.first_frame + task.frame_count; ++frame) {
        on_state(frame, task.step, done.rank);
      }
      break;
    case TaskKind::kForward:
      forward_.on_done(done);
      break;
    case TaskKind::kCombine:
      on_combined(done);
      break;
    case TaskKind::kAdvance:
      on_advanced(done);
      break;
    case TaskKind::kDecode:
      output_.on_decoded(done);
      break;
    case TaskKind::kEmit:
      output_.on_emitted(done);
      admit();
      break;
    case TaskKind::kEnter:
    case TaskKind::kMix:
      fail(ErrorCode::kInternal, "{} in local mode", to_string(task));
  }
}

void LocalDriver::on_arrival(const Message& message) {
  switch (message.data.front().id.kind) {
    case DataKind::kActivation:
      forward_.on_activation(message);
      break;
    case DataKind::kPrediction:
      on_prediction(message.data.front().id.step, message.data.front().id.at, message.destination);
      break;
    case DataKind::kState:
      for (const auto& ref : message.data) on_state(ref.id.at, ref.id.step, message.destination);
      break;
    case DataKind::kPixels:
      output_.on_pixels(message.data.front().id.at);
      break;
    default:
      fail(ErrorCode::kInternal, "{} travelled", to_string(message.data.front().id));
  }
}

}  // namespace seamwright::scheduling
