// The CPU backend: oneDNN convolutions and matrix products, own vector kernels for the rest.
// Threads: one thread at a time per backend; several backends may live in one process.
#pragma once

#include <memory>

#include "model/backend.h"

namespace seamwright::model {

// activation is kF32 or kBF16; threads >= 1. Throws kUnsupported on a CPU without AVX2 and FMA.
std::unique_ptr<Backend> make_cpu_backend(DType activation, int threads);

}  // namespace seamwright::model
