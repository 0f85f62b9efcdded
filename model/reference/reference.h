// The reference backend: every op as plain loops in double on one thread, the oracle that other
// backends and the networks are checked against.
// Threads: as Backend; it starts none itself.
#pragma once

#include <memory>

#include "model/backend.h"

namespace seamwright::model {

std::unique_ptr<Backend> make_reference_backend();

}  // namespace seamwright::model
