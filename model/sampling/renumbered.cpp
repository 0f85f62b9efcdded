// Samplers whose steps are numbered otherwise, so that schedules which start late or visit levels
// several times look like any other to everything else.
#include <utility>

#include "base/error.h"
#include "model/sampling/sampler.h"

namespace seamwright::model {
namespace {

class Renumbered final : public Sampler {
 public:
  Renumbered(std::unique_ptr<const Sampler> inner, std::vector<int> levels)
      : inner_(std::move(inner)), levels_(std::move(levels)) {
    ensure(!levels_.empty() && levels_.front() >= inner_->first_step() &&
               levels_.back() + 1 == inner_->steps(),
           "steps are renumbered from {} to {}, but must reach {}",
           levels_.empty() ? -1 : levels_.front(), levels_.empty() ? -1 : levels_.back(),
           inner_->steps() - 1);
    levels_.push_back(inner_->steps());
    prediction_ = inner_->prediction();
    variance_exploding_ = inner_->variance_exploding();
    init_noise_sigma_ = inner_->init_noise_sigma();
    for (std::size_t s = 0; s < levels_.size(); ++s) {
      const int rise = s == 0 ? 0 : levels_[s] - levels_[s - 1];
      ensure(rise == 0 || rise == 1, "level {} follows level {}", levels_[s], levels_[s] - rise);
      if (s + 1 < levels_.size()) timesteps_.push_back(inner_->timestep(levels_[s]));
      alphas_.push_back(inner_->alpha(levels_[s]));
      sigmas_.push_back(inner_->sigma(levels_[s]));
    }
  }

  bool stochastic(int s) const override {
    return is_round(s) || inner_->stochastic(levels_[index(s)]);
  }
  bool uses_history() const override { return inner_->uses_history(); }

  void step(int s, std::span<const float> x, std::span<const float> model_out,
            std::span<const float> noise, std::span<float> history,
            std::span<float> x_next) const override {
    if (!is_round(s)) {
      inner_->step(levels_[index(s)], x, model_out, noise, history, x_next);
      return;
    }
    std::vector<float> clean(x.size());
    predict_x0(s, x, model_out, clean);
    add_noise(s, clean, noise, x_next);
  }

 private:
  bool is_round(int s) const {
    ensure(s < steps(), "level {} is the last", s);
    return levels_[index(s)] == levels_[index(s) + 1];
  }

  std::unique_ptr<const Sampler> inner_;
  std::vector<int> levels_;  // of every step, and at the end the inner's last level
};

}  // namespace

std::unique_ptr<Sampler> renumbered(std::unique_ptr<const Sampler> inner, std::vector<int> levels) {
  return std::make_unique<Renumbered>(std::move(inner), std::move(levels));
}

std::unique_ptr<Sampler> from_first_step(std::unique_ptr<const Sampler> inner) {
  std::vector<int> levels;
  for (int k = inner->first_step(); k < inner->steps(); ++k) levels.push_back(k);
  return renumbered(std::move(inner), std::move(levels));
}

std::unique_ptr<Sampler> with_rounds(std::unique_ptr<const Sampler> inner, int rounds) {
  std::vector<int> levels;
  for (int k = inner->first_step(); k < inner->steps(); ++k) {
    levels.insert(levels.end(), static_cast<std::size_t>(rounds), k);
  }
  return renumbered(std::move(inner), std::move(levels));
}

}  // namespace seamwright::model
