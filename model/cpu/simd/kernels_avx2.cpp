#include <immintrin.h>

#include <cstdint>

#include "model/cpu/simd/kernels.h"

// From here to the end of the file everything is compiled for this instruction set: templates are
// instantiated at the end. Nothing from the standard library may follow, since the linker keeps
// one copy of an inline function for the whole program.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // false in g++ 12's own immintrin.h
#pragma GCC target("avx2,fma,f16c")

namespace seamwright::model::cpu {
namespace {

// Each of these needs the ones before it.
// clang-format off
#include "model/cpu/simd/vec_avx2.inc"
#include "model/cpu/simd/math.inc"
#include "model/cpu/simd/elementwise.inc"
#include "model/cpu/simd/norm.inc"
#include "model/cpu/simd/gemm_tile.inc"
#include "model/cpu/simd/panel_result.inc"
#include "model/cpu/simd/panels.inc"
#include "model/cpu/simd/attention.inc"
#include "model/cpu/simd/winograd.inc"
#include "model/cpu/simd/table.inc"
// clang-format on

}  // namespace

const Kernels& avx2_kernels() { return kTable; }

}  // namespace seamwright::model::cpu
