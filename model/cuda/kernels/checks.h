// Folder-private: errors for .cu files, whose compiler cannot check format strings.
// Threads: pure.
#pragma once

#include <cstdint>

namespace seamwright::model::cuda {

// Throws kInternal with `what` unless `holds`.
void check(bool holds, const char* what);
// kUnsupported: "`what`: `value` is more than the CUDA backend's `limit`".
void check_limit(const char* what, std::int64_t value, std::int64_t limit);
// kResource unless `status` is 0.
void check_launch(int status, const char* text);

}  // namespace seamwright::model::cuda
