// Folder-private: the few words kernels are written in, so that one source compiles for the GPU and
// for the emulated grid that tests run on the host (emulated.h).
// Threads: device code.
#pragma once

#if defined(__CUDACC__)
#include "model/cuda/kernels/gpu_nvcc.h"
#else
#include "model/cuda/kernels/emulated.h"
#endif
