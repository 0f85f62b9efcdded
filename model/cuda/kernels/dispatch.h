// Folder-private: from an element type known at run time to a kernel's template argument.
// Threads: pure.
#pragma once

#include "model/cuda/kernels/checks.h"
#include "model/cuda/kernels/numbers.h"
#include "model/cuda/kernels/types.h"

namespace seamwright::model::cuda {

// body(tag) with the element type as decltype(tag).
template <class Body>
void with_type(Element type, const Body& body) {
  switch (type) {
    case Element::kF32:
      return body(float{});
    case Element::kBf16:
      return body(Bf16{});
    case Element::kHalf:
      return body(Half{});
  }
}

// Whether all of these can be read 16 bytes at a time. How elements are read changes no result.
template <class... Pointers>
bool aligned_16(const Pointers*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

}  // namespace seamwright::model::cuda
