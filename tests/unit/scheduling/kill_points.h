// Every state that a small gang can be in, found by trying every order of its tasks and of its
// records becoming durable; and what a loss in each of them would make the next attempt do again.
// Threads: none.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "scheduling/plan.h"
#include "scheduling/resume.h"

namespace seamwright::scheduling {

using Steps = std::set<std::pair<int, int>>;  // (window, step) of which an evaluation was done

// What a gang that is lost leaves behind.
struct Loss {
  ResumeState resume;
  Steps done;  // by this attempt and those before
};

struct KillPoints {
  std::int64_t states = 0;
  int most_redone = 0;  // steps of one window
  std::string worst;    // where
  std::string problem;  // a state that nothing leads out of
};

// Records go as soon as retention allows it. `lost` is called for every state.
KillPoints explore(const Plan& plan, const Loss& before,
                   const std::function<void(const Loss&)>& lost);

}  // namespace seamwright::scheduling
