#include "scheduling/partition.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "scheduling/value_flow.h"

namespace seamwright::scheduling {
namespace {

constexpr double kImpossible = std::numeric_limits<double>::infinity();

// What has not been given to a stage yet: blocks [a, b). Consecutive stages only move `a`.
struct Region {
  std::size_t a = 0;
  std::size_t b = 0;
};

// One choice of dynamic programming over regions: peel stage after stage off the outside.
class Search {
 public:
  Search(const ValueFlow& flow, const PartitionRequest& request)
      : flow_(flow), request_(request), blocks_(flow.blocks()) {
    for (std::size_t a = 0; a <= blocks_; ++a) {
      row_.push_back(regions_.size());
      for (std::size_t b = request.folded ? a : blocks_; b <= blocks_; ++b) {
        regions_.push_back({a, b});
        entering_.push_back(ValueFlow::bytes(flow.into(a, b)));
        leaving_.push_back(request.folded ? ValueFlow::bytes(flow.out_of(a, b)) : 0);
      }
    }
  }

  // With bound < 0: the least possible time of the slowest stage. Else the least bytes over all
  // cuts when no stage takes longer than `bound`. Returns kImpossible when nothing fits.
  double solve(double bound) {
    const auto stages = static_cast<std::size_t>(request_.stages);
    best_.assign(stages, std::vector<double>(regions_.size(), kImpossible));
    from_.assign(stages, std::vector<std::size_t>(regions_.size(), 0));
    best_[0][at(0, blocks_)] = 0.0;
    for (std::size_t stage = 1; stage < stages; ++stage) {
      for (std::size_t inner = 0; inner < regions_.size(); ++inner) peel(stage, inner, bound);
    }
    double best = kImpossible;
    for (std::size_t r = 0; r < regions_.size(); ++r) {
      const auto [a, b] = regions_[r];
      if (best_[stages - 1][r] == kImpossible || a >= b) continue;
      const std::int64_t memory = flow_.weights(a, b) + held(cut_bytes(r));
      const double seconds = stage_seconds(flow_.seconds(a, b), cut_bytes(r));
      const double value = join(best_[stages - 1][r], seconds, 0, memory, bound);
      if (value >= best) continue;
      best = value;
      deepest_ = r;
    }
    return best;
  }

  // Bounds of the visits of the last solution.
  std::vector<std::size_t> bounds() const {
    std::vector<std::size_t> down;
    std::vector<std::size_t> up;
    std::size_t region = deepest_;
    for (std::size_t stage = static_cast<std::size_t>(request_.stages); stage-- > 0;) {
      down.push_back(regions_[region].a);
      up.push_back(regions_[region].b);
      if (stage > 0) region = from_[stage][region];
    }
    std::reverse(down.begin(), down.end());
    if (!request_.folded) up.resize(1);
    down.insert(down.end(), up.begin(), up.end());
    return down;
  }

  std::int64_t least_memory() const { return least_memory_; }

 private:
  std::size_t at(std::size_t a, std::size_t b) const {
    if (!request_.folded) return a;
    return row_[a] + (b - a);
  }

  double stage_seconds(double compute_s, std::int64_t link_bytes) const {
    if (request_.link_bytes_per_s <= 0) return compute_s;
    return std::max(compute_s, static_cast<double>(link_bytes) / request_.link_bytes_per_s);
  }

  std::int64_t cut_bytes(std::size_t region) const { return entering_[region] + leaving_[region]; }
  std::int64_t held(std::int64_t activation_bytes) const {
    return request_.micro_batches_held * activation_bytes;
  }

  double join(double before, double seconds, std::int64_t bytes, std::int64_t memory,
              double bound) {
    if (request_.memory_limit > 0 && memory > request_.memory_limit) {
      least_memory_ = std::min(least_memory_, memory);
      return kImpossible;
    }
    if (bound < 0) return std::max(before, seconds);
    return seconds > bound ? kImpossible : before + static_cast<double>(bytes);
  }

  // All ways in which stage - 1 takes what lies between an outer region and `inner`.
  void peel(std::size_t stage, std::size_t inner, double bound) {
    const auto [a, b] = regions_[inner];
    if (a >= b) return;
    const std::size_t last_outer = request_.folded ? blocks_ : b;
    for (std::size_t outer_a = 0; outer_a < a; ++outer_a) {
      for (std::size_t outer_b = request_.folded ? b + 1 : b; outer_b <= last_outer; ++outer_b) {
        const std::size_t outer = at(outer_a, outer_b);
        const double before = best_[stage - 1][outer];
        if (before == kImpossible) continue;
        const double seconds = stage_seconds(flow_.seconds(outer_a, a) + flow_.seconds(b, outer_b),
                                             cut_bytes(outer) + cut_bytes(inner));
        if (bound >= 0 ? seconds > bound : seconds >= best_[stage][inner]) continue;
        std::int64_t memory = 0;
        if (request_.memory_limit > 0) {
          const auto kept = request_.folded ? ValueFlow::bytes(flow_.kept(outer_a, a, b, outer_b))
                                            : std::int64_t{0};
          memory = flow_.weights(outer_a, a) + flow_.weights(b, outer_b) +
                   held(cut_bytes(outer) + cut_bytes(inner) + kept);
        }
        const double value = join(before, seconds, cut_bytes(inner), memory, bound);
        if (value >= best_[stage][inner]) continue;
        best_[stage][inner] = value;
        from_[stage][inner] = outer;
      }
    }
  }

  const ValueFlow& flow_;
  PartitionRequest request_;
  std::size_t blocks_;
  std::vector<Region> regions_;
  std::vector<std::size_t> row_;  // where the regions that begin at a block start
  std::vector<std::int64_t> entering_;
  std::vector<std::int64_t> leaving_;
  std::vector<std::vector<double>> best_;  // [stages taken][region left]
  std::vector<std::vector<std::size_t>> from_;
  std::size_t deepest_ = 0;
  std::int64_t least_memory_ = std::numeric_limits<std::int64_t>::max();
};

std::vector<std::string> names(const std::vector<const Value*>& values) {
  std::vector<std::string> result;
  for (const Value* value : values) result.push_back(value->name);
  return result;
}

}  // namespace

Partition describe_partition(const std::vector<PartitionBlock>& blocks, int stages, bool folded,
                             const std::vector<std::size_t>& bounds) {
  const ValueFlow flow(blocks);
  const Layout layout{1, stages, folded};
  const auto visits = static_cast<std::size_t>(layout.visits());
  ensure(bounds.size() == visits + 1 && bounds.front() == 0 && bounds.back() == blocks.size() &&
             std::is_sorted(bounds.begin(), bounds.end()),
         "bounds of {} visits over {} blocks", visits, blocks.size());
  Partition p;
  p.stages = stages;
  p.folded = folded;
  p.bounds = bounds;
  p.weight_bytes.assign(static_cast<std::size_t>(stages), 0);
  std::vector<double> stage_s(static_cast<std::size_t>(stages), 0.0);
  std::vector<std::int64_t> link_bytes(static_cast<std::size_t>(stages), 0);
  for (std::size_t v = 0; v < visits; ++v) {
    const auto stage = static_cast<std::size_t>(layout.stage_of_visit(static_cast<int>(v)));
    p.visit_s.push_back(flow.seconds(bounds[v], bounds[v + 1]));
    stage_s[stage] += p.visit_s.back();
    p.weight_bytes[stage] += flow.weights(bounds[v], bounds[v + 1]);
    const std::size_t mirror = visits - 1 - v;
    const bool returns = folded && v < mirror;
    const auto kept = returns
                          ? flow.kept(bounds[v], bounds[v + 1], bounds[mirror], bounds[mirror + 1])
                          : std::vector<const Value*>{};
    p.keeps.push_back(names(kept));
    p.retained_bytes.push_back(ValueFlow::bytes(kept));
    if (v + 1 == visits) break;
    std::vector<const Value*> crossing;
    if (!folded) {
      crossing = flow.across(bounds[v + 1]);
    } else if (v + 1 <= visits / 2) {
      crossing = flow.into(bounds[v + 1], bounds[visits - 1 - v]);
    } else {
      crossing = flow.out_of(bounds[visits - 1 - v], bounds[v + 1]);
    }
    p.sends.push_back(names(crossing));
    p.cut_bytes.push_back(ValueFlow::bytes(crossing));
    p.total_cut_bytes += p.cut_bytes.back();
    link_bytes[stage] += p.cut_bytes.back();
    link_bytes[static_cast<std::size_t>(layout.stage_of_visit(static_cast<int>(v) + 1))] +=
        p.cut_bytes.back();
  }
  p.slowest_stage_s = *std::max_element(stage_s.begin(), stage_s.end());
  p.busiest_link_bytes = *std::max_element(link_bytes.begin(), link_bytes.end());
  return p;
}

Partition partition_stages(const std::vector<PartitionBlock>& blocks,
                           const PartitionRequest& request) {
  require(request.stages >= 1, "{} stages: at least 1 is needed", request.stages);
  const Layout layout{1, request.stages, request.folded};
  require(static_cast<std::size_t>(layout.visits()) <= blocks.size(),
          "{} {}stages need {} runs of blocks but the network has {} blocks: use fewer stages",
          request.stages, request.folded ? "folded " : "", layout.visits(), blocks.size());
  const ValueFlow flow(blocks);
  Search search(flow, request);
  const double fastest = search.solve(-1.0);
  if (fastest == kImpossible) {
    fail(ErrorCode::kResource,
         "no cut into {} stages fits {} MiB a rank: the least that a rank would need is {} MiB; "
         "use more stages, a smaller size or bf16",
         request.stages, request.memory_limit >> 20, search.least_memory() >> 20);
  }
  // Decoding fills up whoever has less: a stage may be as long as everyone's fair share.
  const double share = (flow.seconds(0, blocks.size()) + request.decode_s) / request.stages;
  // A hair more, since times are summed in another order here than there.
  const double bound = std::max(fastest, share) * (1.0 + request.tolerance) * (1.0 + 1e-9);
  search.solve(bound);
  Partition p = describe_partition(blocks, request.stages, request.folded, search.bounds());
  const double even = flow.seconds(0, blocks.size()) / request.stages;
  p.reasons.push_back(fmt::format(
      "stages: the slowest takes {:.1f} % more than an even split; the best possible is {:.1f} %",
      100.0 * (p.slowest_stage_s / even - 1.0), 100.0 * (fastest / even - 1.0)));
  if (request.link_bytes_per_s > 0) {
    const double link_s = static_cast<double>(p.busiest_link_bytes) / request.link_bytes_per_s;
    p.reasons.push_back(fmt::format(
        "stages: the busiest link carries {:.1f} MB in {:.2f} ms beside "
        "{:.2f} ms of the slowest stage's compute",
        static_cast<double>(p.busiest_link_bytes) / 1e6, 1e3 * link_s, 1e3 * p.slowest_stage_s));
  }
  for (std::size_t cut = 0; cut < p.cut_bytes.size(); ++cut) {
    p.reasons.push_back(fmt::format(
        "cut {}: before {}, {:.1f} MB in {} activation(s)", cut, blocks[p.bounds[cut + 1]].name,
        static_cast<double>(p.cut_bytes[cut]) / 1e6, p.sends[cut].size()));
  }
  return p;
}

void apply(const Partition& partition, CostTable& costs) {
  costs.visit_s = partition.visit_s;
  costs.sizes.cut_bytes = partition.cut_bytes;
  costs.sizes.retained_bytes = partition.retained_bytes;
  costs.sizes.fixed_bytes = partition.weight_bytes;
}

}  // namespace seamwright::scheduling
