// Folder-private: the words of gpu.h on a real GPU.
// Threads: device code; launch() from any host thread.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "model/cuda/kernels/checks.h"
#include "model/cuda/kernels/types.h"

#define SW_KERNEL __global__ void
#define SW_DEVICE __device__ __forceinline__
#define SW_BOUNDS(threads, blocks) __launch_bounds__(threads, blocks)
#define SW_UNROLL _Pragma("unroll")

namespace seamwright::model::cuda {

SW_DEVICE int thread_index() { return static_cast<int>(threadIdx.x); }
SW_DEVICE int thread_count() { return static_cast<int>(blockDim.x); }
SW_DEVICE std::int64_t block_x() { return blockIdx.x; }
SW_DEVICE std::int64_t block_y() { return blockIdx.y; }
SW_DEVICE std::int64_t block_z() { return blockIdx.z; }
SW_DEVICE std::int64_t blocks_x() { return gridDim.x; }

SW_DEVICE void sync_block() { __syncthreads(); }
SW_DEVICE void sync_warp() { __syncwarp(); }
SW_DEVICE float shuffle_xor(float value, int mask) {
  return __shfl_xor_sync(0xffffffffU, value, mask);
}

template <class T>
SW_DEVICE T* shared_memory() {
  extern __shared__ __align__(16) unsigned char bytes[];
  return reinterpret_cast<T*>(bytes);
}

SW_DEVICE float bits_to_float(std::uint32_t bits) { return __uint_as_float(bits); }
SW_DEVICE float half_bits_to_float(std::uint16_t bits) {
  return __half2float(__ushort_as_half(bits));
}
SW_DEVICE std::uint16_t float_to_bf16_bits(float x) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(x));
}
SW_DEVICE std::uint16_t float_to_half_bits(float x) { return __half_as_ushort(__float2half_rn(x)); }

SW_DEVICE float exp_of(float x) { return expf(x); }
SW_DEVICE float erf_of(float x) { return erff(x); }
SW_DEVICE float tanh_of(float x) { return tanhf(x); }
SW_DEVICE float greater_of(float a, float b) { return fmaxf(a, b); }
SW_DEVICE int nearest_even(float x) { return __float2int_rn(x); }
SW_DEVICE float inverse_root(float x) { return 1.0F / sqrtf(x); }
// 1 / (1 + e^-x), relative error 2^-21.
SW_DEVICE float sigmoid_of(float x) {
  float power, y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * -1.4426950408889634F));
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(1.0F + power));
  return y;
}
// 2^x, relative error 2^-22, tiny results to zero.
SW_DEVICE float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Sixteen bytes from device to shared memory without passing registers; zeros where `valid` is not.
SW_DEVICE void copy_async(void* shared, const void* global, bool valid) {
  const auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes)
               : "memory");
}
SW_DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kStillFlying>
SW_DEVICE void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kStillFlying) : "memory");
}

// Four 8x8 matrices of 16-bit elements from shared memory;
// lanes 8i..8i+7 name the rows of matrix i.
SW_DEVICE void load_matrices(std::uint32_t (&to)[4], const void* row) {
  const auto from = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(from)
               : "memory");
}
SW_DEVICE void load_matrices_transposed(std::uint32_t (&to)[4], const void* row) {
  const auto from = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(from)
               : "memory");
}

// acc [16x8] += a [16x16] * b [16x8], fragments as PTX's mma.m16n8k16 lays them out.
struct Bf16;
struct Half;
template <class T>
SW_DEVICE void multiply_fragments(float (&acc)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                  std::uint32_t b1);
template <>
SW_DEVICE void multiply_fragments<Bf16>(float (&acc)[4], const std::uint32_t (&a)[4],
                                        std::uint32_t b0, std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
SW_DEVICE void multiply_fragments<Half>(float (&acc)[4], const std::uint32_t (&a)[4],
                                        std::uint32_t b0, std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

struct Grid {
  std::int64_t x = 1, y = 1, z = 1;
};

inline constexpr std::size_t kPlainSharedBytes = 48 << 10;  // more must be asked for

// Cooperative kernels use barriers or shuffles; independent ones do not.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), Grid grid, int threads, std::size_t shared_bytes,
            Stream stream, const Arguments&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  check(grid.x <= 0x7fffffff && grid.y <= 65535 && grid.z <= 65535, "a grid is too large for CUDA");
  cudaError_t status = cudaSuccess;
  if (shared_bytes > kPlainSharedBytes) {
    status = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                  cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(shared_bytes));
    if (status != cudaSuccess) (void)cudaGetLastError();  // reported below, not by the next launch
  }
  if (status == cudaSuccess) {
    kernel<<<dim3(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y),
                  static_cast<unsigned>(grid.z)),
             static_cast<unsigned>(threads), shared_bytes, static_cast<cudaStream_t>(stream)>>>(
        static_cast<Parameters>(arguments)...);
    status = cudaGetLastError();
  }
  check_launch(static_cast<int>(status), cudaGetErrorString(status));
}
template <class... Parameters, class... Arguments>
void launch_independent(void (*kernel)(Parameters...), Grid grid, int threads, Stream stream,
                        const Arguments&... arguments) {
  launch(kernel, grid, threads, 0, stream, arguments...);
}

}  // namespace seamwright::model::cuda
