// The CUDA backend: cuDNN convolutions and large attention, cuBLASLt products, own kernels for the
// rest.
// Threads: make a backend on any thread; then as Backend, with two exceptions: copy_out(),
// copy_in() and memory() may be used from other threads beside the one that computes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/backend.h"

namespace seamwright::model {

enum class CudaDnn : std::uint8_t {
  kAuto,   // convolutions and large attention by cuDNN where it has a deterministic engine
  kNever,  // convolutions as products over gathered patches, attention by our own kernels
};

struct CudaOptions {
  DType activation = DType::kBF16;  // kF32, kF16 or kBF16
  int device = 0;
  CudaDnn dnn = CudaDnn::kAuto;
  // Whether cuDNN compiles kernels for small ops, too, where that takes longer than it saves: for
  // tests.
  bool compile_small = false;
};

// What is known of one device without making a backend.
struct CudaDevice {
  std::string name;
  int capability = 0;  // 90 for 9.0
  int multiprocessors = 0;
  std::int64_t memory_bytes = 0;
  std::vector<int> peers;  // devices whose memory it can reach
  std::string pci_address;
};

// Whether this build has the backend at all.
bool cuda_built_in();
// Devices this process can use; empty without a driver, a device, or the backend in the build.
std::vector<CudaDevice> cuda_devices();
// "CUDA 13.0, driver 13.0, cuDNN 9.19.0, cuBLASLt 13.1.0"; empty when not built in.
std::string cuda_versions();

// Throws kUnsupported when the backend is not in this build,
// kResource when there is no such device.
std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options);

}  // namespace seamwright::model
