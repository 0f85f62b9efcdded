// How many runs of one size hold another.
// Threads: a pure function; safe anywhere.
#pragma once

#include <cstdint>

namespace seamwright::model::cpu {

inline constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace seamwright::model::cpu
