// Thirty losses in the default run: every place where a run can be cut off, alone and in gangs.
#include <gtest/gtest.h>

#include "tests/integration/fault_run.h"

namespace seamwright {
namespace {

class Faults : public ::testing::TestWithParam<FaultCase> {};

TEST_P(Faults, GiveTheVideoOfAnUndisturbedRun) {
  if (GetParam().processes && !has_mpirun()) GTEST_SKIP() << "mpirun is not installed";
  run_fault(GetParam());
}

std::vector<FaultCase> cases() {
  std::vector<FaultCase> all;
  const auto add = [&](FaultPlace place, bool processes, int count) {
    for (int i = 0; i < count; ++i) {
      all.push_back(
          {static_cast<std::uint64_t>(all.size()) + SEAMWRIGHT_FAULT_SEED, place, processes});
    }
  };
  const int times = SEAMWRIGHT_FAULT_TIMES;
  add(FaultPlace::kTask, false, 6 * times);
  add(FaultPlace::kRecord, false, 5 * times);
  add(FaultPlace::kSegment, false, 3 * times);
  add(FaultPlace::kRestart, false, 3 * times);
  add(FaultPlace::kClock, false, 4 * times);
  add(FaultPlace::kTask, true, 3 * times);
  add(FaultPlace::kRestart, true, 1 * times);
  add(FaultPlace::kClock, true, 2 * times);
  add(FaultPlace::kKillLauncher, true, 1 * times);
  add(FaultPlace::kStop, false, 1 * times);
  add(FaultPlace::kStop, true, 1 * times);
  return all;
}

INSTANTIATE_TEST_SUITE_P(Drawn, Faults, ::testing::ValuesIn(cases()),
                         [](const auto& info) { return describe(info.param); });

}  // namespace
}  // namespace seamwright
