#include "model/cuda/trial.h"

#include "base/error.h"

namespace seamwright::model::cuda {

bool worth_a_trial(const Product& p, std::size_t algorithms) {
  constexpr std::int64_t kLeastWork = std::int64_t{1} << 27;  // multiply-adds
  const bool dense = p.batch == 1 && p.x_stride == p.in && p.w_stride == p.in &&
                     p.y_stride == p.out && !p.w_transposed;
  return dense && algorithms > 1 && p.rows * p.in * p.out >= kLeastWork;
}

std::size_t fastest_of_equals(std::size_t algorithms,
                              const std::function<bool(std::size_t)>& same_bits,
                              const std::function<float(std::size_t)>& time_of) {
  constexpr float kWorthChanging = 0.97F;  // of the first algorithm's time
  float least = time_of(0) * kWorthChanging;
  std::size_t best = 0;
  for (std::size_t i = 1; i < algorithms; ++i) {
    try {
      if (!same_bits(i)) continue;
      const float time = time_of(i);
      if (time >= least) continue;
      least = time;
      best = i;
    } catch (const Error&) {
    }
  }
  return best;
}

}  // namespace seamwright::model::cuda
