#include "scheduling/plan.h"

#include <charconv>

#include "base/error.h"

namespace seamwright::scheduling {

std::string_view to_string(Coherence coherence) {
  return coherence == Coherence::kLocal ? "local" : "causal";
}

std::string_view to_string(Order order) {
  return order == Order::kThroughput ? "throughput" : "streaming";
}

Coherence parse_coherence(std::string_view name) {
  if (name == "local") return Coherence::kLocal;
  if (name == "causal") return Coherence::kCausal;
  fail(ErrorCode::kInvalidArgument, "unknown coherence '{}': use local or causal", name);
}

Order parse_order(std::string_view name) {
  if (name == "throughput") return Order::kThroughput;
  if (name == "streaming") return Order::kStreaming;
  fail(ErrorCode::kInvalidArgument, "unknown order '{}': use throughput or streaming", name);
}

std::string to_string(const Layout& layout) {
  return fmt::format("{}x{}{}", layout.groups, layout.stages, layout.folded ? "f" : "");
}

Layout parse_layout(std::string_view text) {
  Layout layout;
  const char* at = text.data();
  const char* end = at + text.size();
  auto groups = std::from_chars(at, end, layout.groups);
  bool ok = groups.ec == std::errc() && groups.ptr != end && *groups.ptr == 'x';
  if (ok) {
    auto stages = std::from_chars(groups.ptr + 1, end, layout.stages);
    layout.folded = stages.ptr + 1 == end && *stages.ptr == 'f';
    ok = stages.ec == std::errc() && (stages.ptr == end || layout.folded);
  }
  require(ok, "cannot read layout '{}': write GROUPSxSTAGES, as 2x3, or 2x3f for folded stages",
          text);
  validate(layout);
  return layout;
}

CostTable uniform_costs(const Layout& layout, double forward_s) {
  CostTable costs;
  const auto visits = static_cast<std::size_t>(layout.visits());
  costs.visit_s.assign(visits, forward_s / layout.stages);
  if (layout.folded) {
    // A stage's share is split between its down and its up visit; the deepest has one visit.
    for (std::size_t v = 0; v < visits; ++v) {
      if (static_cast<int>(v) != layout.stages - 1) costs.visit_s[v] /= 2;
    }
  }
  costs.sizes.cut_bytes.assign(visits - 1, 0);
  costs.sizes.retained_bytes.assign(visits, 0);
  costs.sizes.fixed_bytes.assign(static_cast<std::size_t>(layout.stages), 0);
  return costs;
}

void validate(const Layout& layout) {
  require(layout.groups >= 1 && layout.groups <= 4096,
          "window-parallel size is {}: use 1 to 4096 groups", layout.groups);
  require(layout.stages >= 1 && layout.stages <= 256,
          "pipeline-parallel size is {}: use 1 to 256 stages", layout.stages);
}

void validate(const PlanRequest& r) {
  validate(r.windows);
  require(r.steps >= 1 && r.steps <= 10000, "steps is {}: use 1 to 10000", r.steps);
  require(r.branches == 1 || r.branches == 2, "{} guidance branches: 1 or 2 are possible",
          r.branches);
  require(r.lag >= 1, "lag is {}: it must be at least 1", r.lag);
  require(r.rounds >= 1 && r.rounds <= 1000, "resample is {}: use 1 to 1000 rounds", r.rounds);
  require(r.decode_frames >= 1, "{} frames per decode task: at least 1 is needed", r.decode_frames);
  require(r.checkpoint_interval >= 0, "checkpoint interval is {}: 0 or more levels",
          r.checkpoint_interval);
  const bool is_static = r.windows.schedule == ScheduleKind::kStatic;
  if (r.coherence == Coherence::kCausal && !is_static) {
    fail(ErrorCode::kUnsupported,
         "causal coherence needs the static window schedule, not '{}': a window follows its "
         "predecessor through all steps",
         to_string(r.windows.schedule));
  }
  if (r.order == Order::kStreaming && !is_static) {
    fail(ErrorCode::kUnsupported,
         "streaming order needs the static window schedule: with '{}' the first frames depend on "
         "the last; use --order throughput or --window-schedule static",
         to_string(r.windows.schedule));
  }
  if (r.order == Order::kStreaming && r.coherence == Coherence::kLocal &&
      2 * r.windows.overlap > r.windows.window) {
    fail(ErrorCode::kUnsupported,
         "streaming order with local coherence needs an overlap of at most half a window ({} of "
         "{} frames asked): otherwise early frames wait for ever more later ones; use --overlap "
         "{}, --coherence causal or --order throughput",
         r.windows.overlap, r.windows.window, r.windows.window / 2);
  }
  if (r.windows.frames == kEndless && r.order != Order::kStreaming) {
    fail(ErrorCode::kUnsupported, "an endless video needs --order streaming");
  }
}

void validate(const CostTable& costs, const Layout& layout) {
  validate(layout);
  const auto visits = static_cast<std::size_t>(layout.visits());
  ensure(costs.visit_s.size() == visits, "{} visit times for {} visits", costs.visit_s.size(),
         visits);
  ensure(costs.sizes.cut_bytes.size() == visits - 1, "{} cut sizes for {} cuts",
         costs.sizes.cut_bytes.size(), visits - 1);
  ensure(costs.sizes.retained_bytes.size() == visits, "{} retained sizes for {} visits",
         costs.sizes.retained_bytes.size(), visits);
  ensure(costs.sizes.fixed_bytes.size() == static_cast<std::size_t>(layout.stages),
         "{} fixed sizes for {} stages", costs.sizes.fixed_bytes.size(), layout.stages);
  ensure(costs.rank_speed.empty() ||
             costs.rank_speed.size() == static_cast<std::size_t>(layout.ranks()),
         "{} rank speeds for {} ranks", costs.rank_speed.size(), layout.ranks());
  for (const double speed : costs.rank_speed) ensure(speed > 0, "rank speed {}", speed);
  for (const double time : costs.visit_s) ensure(time >= 0, "visit time {}", time);
}

std::string_view to_string(TaskKind kind) {
  switch (kind) {
    case TaskKind::kSource:
      return "source";
    case TaskKind::kForward:
      return "forward";
    case TaskKind::kCombine:
      return "combine";
    case TaskKind::kAdvance:
      return "advance";
    case TaskKind::kEnter:
      return "enter";
    case TaskKind::kMix:
      return "mix";
    case TaskKind::kDecode:
      return "decode";
    case TaskKind::kEmit:
      return "emit";
  }
  return "?";
}

std::string to_string(const Task& t) {
  std::string text(to_string(t.kind));
  if (t.window >= 0) text += fmt::format(" w{}", t.window);
  if (t.step >= 0) text += fmt::format(" k{}", t.step);
  if (t.round > 0) text += fmt::format(" r{}", t.round);
  if (t.kind == TaskKind::kForward) text += fmt::format(" b{} v{}", t.branch, t.visit);
  if (t.chunk >= 0) text += fmt::format(" c{}", t.chunk);
  if (t.frame_count > 0) {
    text += fmt::format(" f{}-{}", t.first_frame, t.first_frame + t.frame_count - 1);
  }
  return text;
}

std::string to_string(const DataId& id) {
  switch (id.kind) {
    case DataKind::kState:
      return fmt::format("state f{} k{}", id.at, id.step);
    case DataKind::kWindowState:
      return fmt::format("window state w{} k{} r{}", id.at, id.step, id.round);
    case DataKind::kInput:
      return fmt::format("input w{} k{} r{}", id.at, id.step, id.round);
    case DataKind::kActivation:
      return fmt::format("activation w{} k{} r{} b{} v{}", id.at, id.step, id.round, id.branch,
                         id.visit);
    case DataKind::kRetained:
      return fmt::format("retained w{} k{} r{} b{} v{}", id.at, id.step, id.round, id.branch,
                         id.visit);
    case DataKind::kBranchOutput:
      return fmt::format("output w{} k{} r{} b{}", id.at, id.step, id.round, id.branch);
    case DataKind::kPrediction:
      return fmt::format("prediction w{} k{} r{}", id.at, id.step, id.round);
    case DataKind::kClean:
      return fmt::format("clean w{} k{}", id.at, id.step);
    case DataKind::kPixels:
      return fmt::format("pixels c{}", id.at);
  }
  return "?";
}

std::size_t DataIdHash::operator()(const DataId& id) const {
  std::uint64_t hash = 0x9E3779B97F4A7C15ULL;
  for (const int part :
       {static_cast<int>(id.kind), id.at, id.step, id.round, id.branch, id.visit}) {
    hash = (hash ^ static_cast<std::uint64_t>(static_cast<std::uint32_t>(part))) *
           0xFF51AFD7ED558CCDULL;
    hash ^= hash >> 32;
  }
  return static_cast<std::size_t>(hash);
}

}  // namespace seamwright::scheduling
