#include "worker/seam_metrics.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>

namespace seamwright::worker {
namespace {

double ratio(double a, double b) {
  return b > 0 && std::isfinite(a) ? a / b : std::numeric_limits<double>::quiet_NaN();
}

nlohmann::json number(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

}  // namespace

SeamMetrics::SeamMetrics(std::int64_t frames, std::vector<std::int64_t> starts,
                         std::vector<std::int64_t> ends) {
  edges_ = std::move(starts);
  edges_.insert(edges_.end(), ends.begin(), ends.end());
  std::sort(edges_.begin(), edges_.end());
  edges_.erase(std::unique(edges_.begin(), edges_.end()), edges_.end());
  std::erase_if(edges_, [&](std::int64_t t) { return t <= 0 || t >= frames; });
}

bool SeamMetrics::is_boundary(std::int64_t later_frame) const {
  return std::binary_search(edges_.begin(), edges_.end(), later_frame);
}

void SeamMetrics::add(std::span<const std::uint8_t> rgb) {
  const std::int64_t frame = next_++;
  if (!last_.empty()) {
    std::int64_t first = 0, second = 0;
    const bool has_second = !before_last_.empty();
    for (std::size_t i = 0; i < rgb.size(); ++i) {
      first += std::abs(static_cast<int>(rgb[i]) - last_[i]);
      if (has_second) second += std::abs(static_cast<int>(rgb[i]) - 2 * last_[i] + before_last_[i]);
    }
    const double size = static_cast<double>(rgb.size());
    const auto count = [&](int order, std::int64_t total, bool boundary) {
      auto& sum = boundary ? boundary_[order] : other_[order];
      sum.total += static_cast<double>(total) / size;
      ++sum.count;
    };
    count(0, first, is_boundary(frame));
    // A second difference centred on frame-1 spans the pairs (frame-2, frame-1), (frame-1, frame).
    if (has_second) count(1, second, is_boundary(frame) || is_boundary(frame - 1));
  }
  before_last_ = std::move(last_);
  last_.assign(rgb.begin(), rgb.end());
}

double SeamMetrics::Sum::mean() const {
  return count > 0 ? total / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN();
}

double SeamMetrics::seam_ratio() const { return ratio(boundary_[0].mean(), other_[0].mean()); }
double SeamMetrics::seam_ratio_second() const {
  return ratio(boundary_[1].mean(), other_[1].mean());
}

double SeamMetrics::mean_motion() const {
  const auto pairs = boundary_[0].count + other_[0].count;
  return pairs > 0 ? (boundary_[0].total + other_[0].total) / static_cast<double>(pairs) : 0;
}

nlohmann::json SeamMetrics::state() const {
  nlohmann::json sums = nlohmann::json::array();
  for (const auto* pair : {boundary_, other_}) {
    for (int order = 0; order < 2; ++order) {
      sums.push_back({pair[order].total, pair[order].count});
    }
  }
  return {{"frames", next_}, {"sums", sums}};
}

void SeamMetrics::restore(const nlohmann::json& state) {
  next_ = state.at("frames").get<std::int64_t>();
  std::size_t i = 0;
  for (auto* pair : {boundary_, other_}) {
    for (int order = 0; order < 2; ++order, ++i) {
      const auto& sum = state.at("sums").at(i);
      pair[order] = {sum.at(0).get<double>(), sum.at(1).get<std::int64_t>()};
    }
  }
  last_.clear();
  before_last_.clear();
}

nlohmann::json to_json(const SeamMetrics& m) {
  return {{"seam_ratio", number(m.seam_ratio())},
          {"seam_ratio_second_difference", number(m.seam_ratio_second())},
          {"mean_motion", m.mean_motion()},
          {"boundary_pairs", m.boundary_pairs()}};
}

}  // namespace seamwright::worker
