#include "scheduling/chains.h"

#include <algorithm>

#include "base/error.h"
#include "scheduling/retention.h"

namespace seamwright::scheduling {
namespace {

constexpr int kForwardClass = 2;

// Chunks of pixels that may wait at rank 0 for the encoder: so few, or as many as fit in so much.
constexpr int kEmitCredit = 4;
constexpr std::int64_t kEmitCreditBytes = std::int64_t{32} << 20;

int emit_credit(const PlanRequest& request, const CostTable& costs, int most) {
  const std::int64_t chunk =
      std::max<std::int64_t>(request.decode_frames * costs.sizes.output_frame_bytes, 1);
  return static_cast<int>(
      std::clamp<std::int64_t>(kEmitCreditBytes / chunk, kEmitCredit, std::max(kEmitCredit, most)));
}

DataId id_of(DataKind kind, const Task& task) {
  return {kind, task.window, task.step, task.round, task.branch, task.visit};
}

DataId output_id(Task task) {
  return {DataKind::kBranchOutput, task.window, task.step, task.round, task.branch, 0};
}

}  // namespace

ForwardChain::ForwardChain(ListScheduler& scheduler, const PlanRequest& request,
                           const Layout& layout, const CostTable& costs, Hooks hooks)
    : scheduler_(scheduler),
      request_(request),
      layout_(layout),
      costs_(costs),
      hooks_(std::move(hooks)) {}

void ForwardChain::start(int step, int window, int round) {
  for (int branch = 0; branch < request_.branches; ++branch) {
    Task task;
    task.kind = TaskKind::kForward;
    task.window = window;
    task.step = step;
    task.round = round;
    task.branch = branch;
    visit(task);
  }
}

Priority ForwardChain::priority(const Task& t) const {
  if (request_.coherence == Coherence::kCausal) {
    return {kForwardClass, t.window, t.step, t.round, t.branch};
  }
  if (request_.order == Order::kStreaming) {
    const int diagonal = std::max(0, t.window + t.step - request_.steps + 1);
    return {kForwardClass, diagonal, t.step, t.window, t.branch};
  }
  return {kForwardClass, t.step, t.window, t.branch, 0};
}

void ForwardChain::visit(const Task& task) {
  const int last = layout_.visits() - 1;
  const auto v = static_cast<std::size_t>(task.visit);
  const DataSizes& sizes = costs_.sizes;
  ReadyTask ready;
  ready.task = task;
  ready.rank = layout_.rank_of(hooks_.group(task.step, task.window), task.visit);
  ready.seconds = costs_.visit_s[v];
  ready.priority = priority(task);
  if (task.visit == 0) {
    ready.inputs = hooks_.inputs(task.step, task.window, task.round);
    if (const int level = required_durable_level(request_, task.step); level > 0) {
      ready.durable_level = level;
    }
  } else {
    Task before = task;
    before.visit = task.visit - 1;
    ready.inputs.push_back(id_of(DataKind::kActivation, before));
  }
  if (layout_.folded && task.visit > last - task.visit) {
    Task down = task;
    down.visit = last - task.visit;
    ready.inputs.push_back(id_of(DataKind::kRetained, down));
  }
  if (layout_.folded && task.visit < last - task.visit) {
    ready.outputs.push_back({id_of(DataKind::kRetained, task), sizes.retained_bytes[v], 1, 0});
  }
  if (task.visit < last) {
    ready.outputs.push_back({id_of(DataKind::kActivation, task), sizes.cut_bytes[v], 0, 1});
  } else {
    const int frames = std::min(request_.windows.window, request_.windows.frames);
    ready.outputs.push_back({output_id(task), frames * sizes.latent_frame_bytes, 1, 0});
  }
  scheduler_.ready(std::move(ready));
}

void ForwardChain::on_done(const PlannedTask& done) {
  const Task& task = done.task;
  if (task.visit < layout_.visits() - 1) {
    const int group = layout_.group_of_rank(done.rank);
    const auto bytes = costs_.sizes.cut_bytes[static_cast<std::size_t>(task.visit)];
    scheduler_.send(done.rank, layout_.rank_of(group, task.visit + 1),
                    {{id_of(DataKind::kActivation, task), bytes, 1}}, {});
    return;
  }
  const auto key = std::make_tuple(task.step, task.window, task.round);
  if (++joined_[key] < request_.branches) return;
  joined_.erase(key);
  ReadyTask combine;
  combine.task = task;
  combine.task.kind = TaskKind::kCombine;
  combine.task.branch = 0;
  combine.task.visit = 0;
  combine.rank = done.rank;
  combine.seconds = costs_.combine_s;
  combine.priority = {0, task.step, task.window, 0, 0};
  for (int branch = 0; branch < request_.branches; ++branch) {
    Task of = task;
    of.branch = branch;
    combine.inputs.push_back(output_id(of));
  }
  combine.outputs.push_back(hooks_.prediction(task.step, task.window, task.round));
  scheduler_.ready(std::move(combine));
}

void ForwardChain::on_activation(const Message& message) {
  const DataId& id = message.data.front().id;
  Task task;
  task.kind = TaskKind::kForward;
  task.window = id.at;
  task.step = id.step;
  task.round = id.round;
  task.branch = id.branch;
  task.visit = id.visit + 1;
  visit(task);
}

OutputChain::OutputChain(ListScheduler& scheduler, const PlanRequest& request, const Layout& layout,
                         const CostTable& costs, DecodeSpread& spread, int first_chunk)
    : scheduler_(scheduler),
      request_(request),
      costs_(costs),
      spread_(spread),
      decode_credit_(std::max(kEmitCredit, 2 * layout.ranks())),
      emit_credit_(emit_credit(request, costs, decode_credit_)),
      first_chunk_(first_chunk),
      next_chunk_(first_chunk) {}

std::int64_t OutputChain::pixel_bytes(int chunk) const {
  return spread_.frame_count(chunk) * costs_.sizes.output_frame_bytes;
}

void OutputChain::on_final_frame(int frame) {
  const int chunk = spread_.chunk_of(frame);
  if (++frames_[chunk] < spread_.frame_count(chunk)) return;
  frames_.erase(chunk);
  if (chunk < next_chunk_ + decode_credit_) {
    decode(chunk);
  } else {
    complete_.insert(chunk);
  }
}

void OutputChain::decode(int chunk) {
  ReadyTask ready;
  ready.task.kind = TaskKind::kDecode;
  ready.task.chunk = chunk;
  ready.task.first_frame = spread_.first_frame(chunk);
  ready.task.frame_count = spread_.frame_count(chunk);
  ready.rank = spread_.rank(chunk);
  ready.seconds = costs_.decode_frame_s * ready.task.frame_count;
  // Streaming: at once. Throughput: when nothing else is to be done.
  ready.priority = {request_.order == Order::kStreaming ? kForwardClass - 1 : kForwardClass + 1,
                    chunk, 0, 0, 0};
  for (int i = 0; i < ready.task.frame_count; ++i) {
    ready.inputs.push_back({DataKind::kState, ready.task.first_frame + i, request_.steps});
  }
  const bool here = ready.rank == 0;
  ready.outputs.push_back(
      {{DataKind::kPixels, chunk}, pixel_bytes(chunk), here ? 1 : 0, here ? 0 : 1});
  scheduler_.ready(std::move(ready));
}

void OutputChain::on_decoded(const PlannedTask& done) {
  if (done.rank == 0) {
    on_pixels(done.task.chunk);
  } else if (done.task.chunk < next_chunk_ + emit_credit_) {
    send_pixels(done.task.chunk);
  } else {
    decoded_.insert(done.task.chunk);
  }
}

void OutputChain::send_pixels(int chunk) {
  // The room it needs at rank 0 is what an earlier chunk leaves there.
  const int leaves = chunk - emit_credit_;
  std::int64_t after = -1;
  if (leaves >= first_chunk_) {
    const int back = next_chunk_ - 1 - leaves;
    after = emit_position_.at(emit_position_.size() - 1 - static_cast<std::size_t>(back));
  }
  scheduler_.send(spread_.rank(chunk), 0, {{{DataKind::kPixels, chunk}, pixel_bytes(chunk), 1}}, {},
                  after);
}

void OutputChain::on_pixels(int chunk) {
  arrived_.insert(chunk);
  if (chunk == next_chunk_) emit(chunk);
}

void OutputChain::emit(int chunk) {
  arrived_.erase(chunk);
  ReadyTask ready;
  ready.task.kind = TaskKind::kEmit;
  ready.task.chunk = chunk;
  ready.task.first_frame = spread_.first_frame(chunk);
  ready.task.frame_count = spread_.frame_count(chunk);
  ready.rank = 0;
  ready.seconds = costs_.emit_frame_s * ready.task.frame_count;
  ready.priority = {0, 0, 0, 0, 0};
  ready.inputs.push_back({DataKind::kPixels, chunk});
  scheduler_.ready(std::move(ready));
}

void OutputChain::on_emitted(const PlannedTask& done) {
  ensure(done.task.chunk == next_chunk_, "chunk {} was emitted before chunk {}", done.task.chunk,
         next_chunk_);
  ++next_chunk_;
  emit_position_.push_back(done.position);
  if (emit_position_.size() > static_cast<std::size_t>(emit_credit_)) emit_position_.pop_front();
  const int decodable = next_chunk_ - 1 + decode_credit_;
  if (complete_.erase(decodable) > 0) decode(decodable);
  const int sendable = next_chunk_ - 1 + emit_credit_;
  if (decoded_.erase(sendable) > 0) send_pixels(sendable);
  if (arrived_.contains(next_chunk_)) emit(next_chunk_);
}

}  // namespace seamwright::scheduling
