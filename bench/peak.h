// What this machine can do at most, measured: the yardstick of every other number.
// Threads: call from one thread; uses as many as it is given.
#pragma once

#include <string>

#include "model/backend.h"

namespace seamwright::bench {

struct Peak {
  double fma_gflops = 0;       // fp32 multiply-adds on registers
  double gemm_f32_gflops = 0;  // the best of oneDNN's square and skinny products
  double gemm_bf16_gflops = 0;
  double copy_gbytes = 0;  // bytes read plus bytes written per second
};

Peak measure_peak(int threads);
// The same of any device, through its own ops: a large square product in its activation type (noted
// as f32 or bf16) and a pass over a large tensor.
Peak measure_peak_of(model::Backend& backend);

}  // namespace seamwright::bench
