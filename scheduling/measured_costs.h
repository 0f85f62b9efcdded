// From what forwards took on each rank to the cost table that all ranks plan with: noise is not
// speed.
// Threads: pure functions; safe anywhere.
#pragma once

#include <vector>

#include "scheduling/plan.h"

namespace seamwright::scheduling {

// Ranks within a tenth of the fastest of their kind count as equally fast, so that equal machines
// keep the plan of equal machines whatever the clock said.
inline constexpr double kEqualSpeed = 0.10;

// Seconds of each rank for its own visits of one micro-batch, in visit order.
using MeasuredVisits = std::vector<std::vector<double>>;

// How fast each rank is among those of its stage, the fastest 1: sorted by time and gathered into
// classes, each as wide as `equal`, which get the speed of their mean.
std::vector<double> measured_speeds(const MeasuredVisits& visits, const Layout& layout,
                                    double equal = kEqualSpeed);

// Puts measured times into a table of counted ones: the visits take what the fastest class of each
// stage took, decoding changes in proportion, and ranks get their speeds (none where all are
// equal). Throws kInvalidArgument for times that no clock gives.
void apply_measured(const MeasuredVisits& visits, const Layout& layout, CostTable& costs);

}  // namespace seamwright::scheduling
