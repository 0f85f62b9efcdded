// Named places where a test can end the process as `kill -9` would, or make a write fail.
// Threads: safe from any thread; arming happens once, before threads start.
#pragma once

#include <string>
#include <string_view>

namespace seamwright {

// "NAME" or "NAME:N": the N-th time (first by default) `failpoint(NAME)` is reached, the process
// ends by SIGKILL. Several are separated by commas; "" disarms all. Throws kInvalidArgument.
void arm_failpoints(const std::string& text);

// Costs one relaxed load while nothing is armed.
void failpoint(std::string_view name);

}  // namespace seamwright
