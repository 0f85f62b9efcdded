// Verifies a plan without trusting the planner: every task once, every input there, every send
// matched, no cycle over tasks, messages and buffers, the memory bound kept.
// Threads: pure function; safe anywhere.
#pragma once

#include <string>
#include <vector>

#include "scheduling/plan.h"
#include "scheduling/resume.h"

namespace seamwright::scheduling {

// What is wrong with the plan, one line each; empty when it is sound. With records to resume from,
// the tasks to expect are those the plan has, and every missing frame must still be emitted.
std::vector<std::string> check_plan(const Plan& plan, const ResumeState& resume = {});

}  // namespace seamwright::scheduling
