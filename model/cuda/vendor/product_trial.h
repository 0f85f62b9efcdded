// Folder-private: which of a product's algorithms to take.
// Threads: one at a time, on the stream that the product runs on.
#pragma once

#include "model/cuda/vendor/real_calls.h"

namespace seamwright::model::cuda {

// Takes the fastest of the plan's algorithms among those that give the first one's bits on made-up
// operands of the product's shape (each element of the result then shows one order of adding up),
// so that a choice by time never shows in a result. Small products keep the first. Leaves the plan
// as it is where memory for the trial is short or the stream is being captured. cuBLASLt's first
// choice took up to 1.5 times as long on an H100 where bias and residual were added.
void settle_by_trial(ProductPlan& plan, const Product& product, cublasLtHandle_t handle,
                     void* workspace, std::size_t workspace_bytes, cudaStream_t stream);

}  // namespace seamwright::model::cuda
