#include "model/cuda/vendor/real_calls.h"

#include <algorithm>
#include <array>
#include <bit>

#include "model/cuda/backend.h"
#include "model/cuda/vendor/product_trial.h"

namespace seamwright::model {
namespace cuda {

void check_cuda(cudaError_t code, const char* call) {
  if (code == cudaSuccess) [[likely]]
    return;
  (void)cudaGetLastError();  // reported here, not again by a later call
  fail(ErrorCode::kResource, "{} failed: {}", call, cudaGetErrorString(code));
}

void check_cublas(cublasStatus_t code, const char* call) {
  if (code == CUBLAS_STATUS_SUCCESS) [[likely]]
    return;
  fail(ErrorCode::kResource, "{} failed: {}", call, cublasLtGetStatusString(code));
}

namespace {

cudaStream_t as_stream(Stream stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t as_event(Event event) { return static_cast<cudaEvent_t>(event); }

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

int usable_device(int device) {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code != cudaSuccess) {
    (void)cudaGetLastError();
    fail(ErrorCode::kResource,
         "no CUDA device can be used here: {}; see 'seamwright doctor', or use --device cpu",
         cudaGetErrorString(code));
  }
  if (device < 0 || device >= count) {
    fail(ErrorCode::kResource, "there is no CUDA device {}: this host has {}", device, count);
  }
  check_cuda(cudaSetDevice(device), "cudaSetDevice");
  return device;
}

// The power of two, up to 16, that an address divides by; null divides by all.
unsigned alignment_of(const void* data) {
  const auto address = reinterpret_cast<std::uintptr_t>(data) | 16U;
  return 1U << std::countr_zero(address);
}

}  // namespace

RealCalls::RealCalls(int device) : device_(usable_device(device)), dnn_(kWorkspaceBytes, device_) {
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device_), "cudaGetDeviceProperties");
  name_ = properties.name;
  if (properties.major < 8) {
    fail(ErrorCode::kUnsupported,
         "{} has compute capability {}.{}, but the CUDA backend needs 8.0 or newer", name_,
         properties.major, properties.minor);
  }
  check_cublas(cublasLtCreate(&blas_), "cublasLtCreate");
  check_cuda(cudaMalloc(&workspace_, kWorkspaceBytes), "cudaMalloc");
}

RealCalls::~RealCalls() {
  products_.clear();
  if (workspace_ != nullptr) (void)cudaFree(workspace_);
  if (blas_ != nullptr) (void)cublasLtDestroy(blas_);
}

std::string RealCalls::description() const {
  return fmt::format("device={};{}", name_, cuda_versions());
}

void RealCalls::bind_thread() { check_cuda(cudaSetDevice(device_), "cudaSetDevice"); }

void* RealCalls::allocate_device(std::size_t bytes) {
  void* data = nullptr;
  const cudaError_t code = cudaMalloc(&data, bytes);
  if (code != cudaSuccess) {
    (void)cudaGetLastError();
    std::size_t free = 0, total = 0;
    (void)cudaMemGetInfo(&free, &total);
    fail(
        ErrorCode::kResource,
        "the GPU cannot give {} MiB ({}; {} of {} MiB free): choose a smaller size or window, more "
        "stages, or a smaller precision",
        bytes >> 20, cudaGetErrorString(code), free >> 20, total >> 20);
  }
  return data;
}
void RealCalls::free_device(void* data) noexcept { (void)cudaFree(data); }

std::byte* RealCalls::allocate_pinned(std::size_t bytes) {
  void* data = nullptr;
  check_cuda(cudaHostAlloc(&data, bytes, cudaHostAllocPortable), "cudaHostAlloc");
  return static_cast<std::byte*>(data);
}
void RealCalls::free_pinned(std::byte* data) noexcept { (void)cudaFreeHost(data); }

Stream RealCalls::create_stream() {
  cudaStream_t stream = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
             "cudaStreamCreateWithFlags");
  return stream;
}
void RealCalls::destroy_stream(Stream stream) noexcept {
  (void)cudaStreamDestroy(as_stream(stream));
}
void RealCalls::wait_for_stream(Stream stream) {
  check_cuda(cudaStreamSynchronize(as_stream(stream)), "cudaStreamSynchronize");
}
// Whoever waits sleeps: processors have an encoder to run meanwhile.
Event RealCalls::create_event() {
  cudaEvent_t event = nullptr;
  check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming | cudaEventBlockingSync),
             "cudaEventCreateWithFlags");
  return event;
}
void RealCalls::destroy_event(Event event) noexcept { (void)cudaEventDestroy(as_event(event)); }
void RealCalls::record(Event event, Stream stream) {
  check_cuda(cudaEventRecord(as_event(event), as_stream(stream)), "cudaEventRecord");
}
void RealCalls::make_wait(Stream stream, Event event) {
  check_cuda(cudaStreamWaitEvent(as_stream(stream), as_event(event), 0), "cudaStreamWaitEvent");
}
void RealCalls::wait_for_event(Event event) {
  check_cuda(cudaEventSynchronize(as_event(event)), "cudaEventSynchronize");
}

void RealCalls::to_device(const std::byte* host, void* device, std::size_t bytes, Stream stream) {
  check_cuda(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, as_stream(stream)),
             "cudaMemcpyAsync to the device");
}
void RealCalls::to_host(const void* device, std::byte* host, std::size_t bytes, Stream stream) {
  check_cuda(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, as_stream(stream)),
             "cudaMemcpyAsync to the host");
}
void RealCalls::on_device(const void* from, void* to, std::size_t bytes, Stream stream) {
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, as_stream(stream)),
             "cudaMemcpyAsync on the device");
}

void RealCalls::begin_capture(Stream stream) {
  check_cuda(cudaStreamBeginCapture(as_stream(stream), cudaStreamCaptureModeRelaxed),
             "cudaStreamBeginCapture");
}

Graph RealCalls::end_capture(Stream stream) {
  cudaGraph_t recorded = nullptr;
  check_cuda(cudaStreamEndCapture(as_stream(stream), &recorded), "cudaStreamEndCapture");
  cudaGraphExec_t graph = nullptr;
  const cudaError_t code = cudaGraphInstantiate(&graph, recorded, 0);
  (void)cudaGraphDestroy(recorded);
  check_cuda(code, "cudaGraphInstantiate");
  return graph;
}

void RealCalls::abandon_capture(Stream stream) noexcept {
  cudaGraph_t recorded = nullptr;
  (void)cudaStreamEndCapture(as_stream(stream), &recorded);
  if (recorded != nullptr) (void)cudaGraphDestroy(recorded);
  (void)cudaGetLastError();
}

void RealCalls::launch(Graph graph, Stream stream) {
  check_cuda(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), as_stream(stream)),
             "cudaGraphLaunch");
}

void RealCalls::destroy_graph(Graph graph) noexcept {
  (void)cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph));
}

void RealCalls::multiply(const Product& product, const ProductOperands& o, Stream stream) {
  const unsigned alignment =
      std::min({alignment_of(o.x), alignment_of(o.w), alignment_of(o.y), alignment_of(o.residual)});
  const std::pair key{product, alignment};
  ProductPlan* plan = products_.find(key);
  if (plan == nullptr) {
    plan = &products_.put(key, ProductPlan(blas_, product, alignment, workspace_, kWorkspaceBytes));
  }
  if (!plan->settled) {
    settle_by_trial(*plan, product, blas_, workspace_, kWorkspaceBytes, as_stream(stream));
  }
  plan->run(blas_, o, workspace_, kWorkspaceBytes, as_stream(stream));
}

bool RealCalls::can_convolve(const Convolution& convolution) {
  return dnn_.can_convolve(convolution);
}

void RealCalls::convolve(const Convolution& convolution, const void* x, const void* w, void* y,
                         Stream stream) {
  dnn_.convolve(convolution, x, w, y, workspace_, stream);
}

bool RealCalls::can_attend(const Attention& attention) { return dnn_.can_attend(attention); }

void RealCalls::attend(const Attention& attention, const AttentionOperands& operands,
                       Stream stream) {
  dnn_.attend(attention, operands, workspace_, stream);
}

}  // namespace cuda

bool cuda_built_in() { return true; }

std::vector<CudaDevice> cuda_devices() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    (void)cudaGetLastError();
    return {};
  }
  std::vector<CudaDevice> devices;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp p{};
    if (cudaGetDeviceProperties(&p, i) != cudaSuccess) continue;
    CudaDevice device{p.name,
                      p.major * 10 + p.minor,
                      p.multiProcessorCount,
                      static_cast<std::int64_t>(p.totalGlobalMem),
                      {},
                      {}};
    std::array<char, 32> address{};
    if (cudaDeviceGetPCIBusId(address.data(), address.size(), i) == cudaSuccess) {
      device.pci_address = address.data();
    }
    for (int peer = 0; peer < count; ++peer) {
      int reaches = 0;
      if (peer != i && cudaDeviceCanAccessPeer(&reaches, i, peer) == cudaSuccess && reaches != 0) {
        device.peers.push_back(peer);
      }
    }
    devices.push_back(std::move(device));
  }
  return devices;
}

std::string cuda_versions() {
  int runtime = 0, driver = 0;
  (void)cudaRuntimeGetVersion(&runtime);
  (void)cudaDriverGetVersion(&driver);
  const auto blas = cublasLtGetVersion();
  return fmt::format("CUDA {}, driver {}, cuDNN {}, cuBLASLt {}.{}.{}", cuda::version_text(runtime),
                     driver == 0 ? "absent" : cuda::version_text(driver), cuda::Dnn::version(),
                     blas / 10000, blas / 100 % 100, blas % 100);
}

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options) {
  return std::make_unique<cuda::CudaBackend>(std::make_shared<cuda::RealCalls>(options.device),
                                             options);
}

}  // namespace seamwright::model
