// Which of several algorithms for one product to take; the device's part is in
// vendor/product_trial.h.
// Threads: pure but for what the callers' functions do.
#pragma once

#include <cstddef>
#include <functional>

#include "model/cuda/calls.h"

namespace seamwright::model::cuda {

// Whether a product is worth a trial: dense, and large enough that its time shows.
bool worth_a_trial(const Product& product, std::size_t algorithms);

// The fastest of the algorithms, numbered from 0, among those that give the first one's bits; the
// first where none is clearly faster. `time_of` is asked about the first, and about others only
// after `same_bits` said yes; one that throws an Error does not
// take the operands, and is passed over.
std::size_t fastest_of_equals(std::size_t algorithms,
                              const std::function<bool(std::size_t)>& same_bits,
                              const std::function<float(std::size_t)>& time_of);

}  // namespace seamwright::model::cuda
