#include "model/cuda/kernels/checks.h"

#include "base/error.h"

namespace seamwright::model::cuda {

void check(bool holds, const char* what) { ensure(holds, "{}", what); }

void check_limit(const char* what, std::int64_t value, std::int64_t limit) {
  if (value > limit) {
    fail(ErrorCode::kUnsupported, "{}: {} is more than the CUDA backend's {}", what, value, limit);
  }
}

void check_launch(int status, const char* text) {
  if (status != 0) fail(ErrorCode::kResource, "a CUDA kernel could not start: {}", text);
}

}  // namespace seamwright::model::cuda
