#include "scheduling/measured_costs.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace seamwright::scheduling {
namespace {

double total(const std::vector<double>& seconds) {
  return std::accumulate(seconds.begin(), seconds.end(), 0.0);
}

void validate_visits(const MeasuredVisits& visits, const Layout& layout) {
  require(visits.size() == static_cast<std::size_t>(layout.ranks()),
          "measured times of {} ranks, but {} has {}", visits.size(), to_string(layout),
          layout.ranks());
  std::vector<std::size_t> expected(static_cast<std::size_t>(layout.stages));
  for (int v = 0; v < layout.visits(); ++v) {
    ++expected[static_cast<std::size_t>(layout.stage_of_visit(v))];
  }
  for (std::size_t rank = 0; rank < visits.size(); ++rank) {
    const auto stage = rank % static_cast<std::size_t>(layout.stages);
    require(visits[rank].size() == expected[stage], "rank {} measured {} visits, but makes {}",
            rank, visits[rank].size(), expected[stage]);
    for (const double seconds : visits[rank]) {
      require(std::isfinite(seconds) && seconds > 0,
              "rank {} measured {} s for a visit: not a time; use --costs counted", rank, seconds);
    }
  }
}

}  // namespace

std::vector<double> measured_speeds(const MeasuredVisits& visits, const Layout& layout,
                                    double equal) {
  validate_visits(visits, layout);
  std::vector<double> speeds(visits.size(), 1.0);
  for (int stage = 0; stage < layout.stages; ++stage) {
    std::vector<std::pair<double, std::size_t>> by_time;
    for (int group = 0; group < layout.groups; ++group) {
      const auto rank = static_cast<std::size_t>(group * layout.stages + stage);
      by_time.emplace_back(total(visits[rank]), rank);
    }
    std::sort(by_time.begin(), by_time.end());
    double fastest = 0;
    for (std::size_t first = 0; first < by_time.size();) {
      std::size_t last = first;
      double sum = 0;
      while (last < by_time.size() && by_time[last].first <= by_time[first].first * (1 + equal)) {
        sum += by_time[last++].first;
      }
      const double mean = sum / static_cast<double>(last - first);
      if (first == 0) fastest = mean;
      for (; first < last; ++first) speeds[by_time[first].second] = fastest / mean;
    }
  }
  return speeds;
}

void apply_measured(const MeasuredVisits& visits, const Layout& layout, CostTable& costs) {
  const auto speeds = measured_speeds(visits, layout);
  const double counted = total(costs.visit_s);
  std::vector<std::size_t> taken(static_cast<std::size_t>(layout.stages));
  for (int v = 0; v < layout.visits(); ++v) {
    const int stage = layout.stage_of_visit(v);
    const auto own = taken[static_cast<std::size_t>(stage)]++;
    double sum = 0;
    int fast = 0;
    for (int group = 0; group < layout.groups; ++group) {
      const auto rank = static_cast<std::size_t>(group * layout.stages + stage);
      if (speeds[rank] < 1.0) continue;
      sum += visits[rank][own];
      ++fast;
    }
    costs.visit_s[static_cast<std::size_t>(v)] = sum / fast;
  }
  if (counted > 0) costs.decode_frame_s *= total(costs.visit_s) / counted;
  costs.rank_speed.clear();
  if (std::any_of(speeds.begin(), speeds.end(), [](double speed) { return speed < 1.0; })) {
    costs.rank_speed = speeds;
  }
}

}  // namespace seamwright::scheduling
