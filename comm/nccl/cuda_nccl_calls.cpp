// The real NCCL, stream and event calls.
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <cstring>
#include <utility>

#include "comm/nccl/nccl_fabric.h"

namespace seamwright::comm {
namespace {

void check_cuda(cudaError_t code, const char* call) {
  if (code == cudaSuccess) [[likely]]
    return;
  (void)cudaGetLastError();  // reported here, not again by a later call
  fail(ErrorCode::kResource, "{} failed: {}", call, cudaGetErrorString(code));
}

cudaStream_t to_cuda(Stream stream) { return static_cast<cudaStream_t>(stream.native); }
cudaEvent_t to_event(NcclCalls::Event event) { return static_cast<cudaEvent_t>(event); }
ncclComm_t to_nccl(NcclCalls::Comm comm) { return static_cast<ncclComm_t>(comm); }

class CudaNcclCalls final : public NcclCalls {
 public:
  explicit CudaNcclCalls(int device) : device_(device) {
    int count = 0;
    check_cuda(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
    require(device >= 0 && device < count, "there is no CUDA device {}: this host has {}", device,
            count);
  }

  void bind_thread() override { check_cuda(cudaSetDevice(device_), "cudaSetDevice"); }

  bool device_can_access(const void* bytes) const override {
    cudaPointerAttributes attributes{};
    if (cudaPointerGetAttributes(&attributes, bytes) != cudaSuccess) {
      (void)cudaGetLastError();  // an ordinary host pointer is no error of the device
      return false;
    }
    return attributes.type != cudaMemoryTypeUnregistered;
  }

  Stream create_stream() override {
    // Highest priority: a transfer is short and others wait for it.
    int lowest = 0;
    int highest = 0;
    check_cuda(cudaDeviceGetStreamPriorityRange(&lowest, &highest),
               "cudaDeviceGetStreamPriorityRange");
    cudaStream_t stream = nullptr;
    check_cuda(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, highest),
               "cudaStreamCreateWithPriority");
    return {stream};
  }
  void destroy_stream(Stream stream) override { (void)cudaStreamDestroy(to_cuda(stream)); }
  Event create_event() override {
    cudaEvent_t event = nullptr;
    check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming),
               "cudaEventCreateWithFlags");
    return event;
  }
  void destroy_event(Event event) override { (void)cudaEventDestroy(to_event(event)); }
  void record(Event event, Stream stream) override {
    check_cuda(cudaEventRecord(to_event(event), to_cuda(stream)), "cudaEventRecord");
  }
  void make_wait(Stream stream, Event event) override {
    check_cuda(cudaStreamWaitEvent(to_cuda(stream), to_event(event), 0), "cudaStreamWaitEvent");
  }
  NcclStatus query(Event event) override {
    const cudaError_t code = cudaEventQuery(to_event(event));
    if (code == cudaSuccess) return NcclStatus::kSuccess;
    (void)cudaGetLastError();  // "not ready" too would come up again at this thread's next check
    if (code == cudaErrorNotReady) return NcclStatus::kInProgress;
    cuda_error_ = cudaGetErrorString(code);
    return NcclStatus::kError;
  }

  Bytes make_unique_id() override {
    ncclUniqueId id;
    if (judge(ncclGetUniqueId(&id)) == NcclStatus::kError) {
      fail(ErrorCode::kUnavailable, "ncclGetUniqueId failed: {}", last_error(nullptr));
    }
    const auto bytes = std::as_bytes(std::span(id.internal));
    return {bytes.begin(), bytes.end()};
  }
  NcclStatus init_rank(Comm& comm, int size, const Bytes& unique_id, int rank) override {
    ncclUniqueId id;
    ensure(unique_id.size() == sizeof(id.internal), "an NCCL id of {} bytes", unique_id.size());
    std::memcpy(id.internal, unique_id.data(), unique_id.size());
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t made = nullptr;
    const NcclStatus status = judge(ncclCommInitRankConfig(&made, size, id, rank, &config));
    comm = made;
    return status;
  }
  NcclStatus status(Comm comm) override {
    ncclResult_t state = ncclSuccess;
    const NcclStatus asked = judge(ncclCommGetAsyncError(to_nccl(comm), &state));
    return asked == NcclStatus::kError ? asked : judge(state);
  }
  NcclStatus group_start() override { return judge(ncclGroupStart()); }
  NcclStatus group_end(Comm /*comm*/) override { return judge(ncclGroupEnd()); }
  NcclStatus send(std::span<const std::byte> bytes, int peer, Comm comm, Stream stream) override {
    return judge(
        ncclSend(bytes.data(), bytes.size(), ncclUint8, peer, to_nccl(comm), to_cuda(stream)));
  }
  NcclStatus recv(std::span<std::byte> bytes, int peer, Comm comm, Stream stream) override {
    return judge(
        ncclRecv(bytes.data(), bytes.size(), ncclUint8, peer, to_nccl(comm), to_cuda(stream)));
  }
  NcclStatus finalize(Comm comm) override { return judge(ncclCommFinalize(to_nccl(comm))); }
  void destroy(Comm comm) override { judge(ncclCommDestroy(to_nccl(comm))); }
  void abort(Comm comm) override { judge(ncclCommAbort(to_nccl(comm))); }
  std::string last_error(Comm comm) override {
    if (!cuda_error_.empty()) return cuda_error_;
    const char* detail = ncclGetLastError(to_nccl(comm));
    std::string text = ncclGetErrorString(last_);
    if (detail != nullptr && *detail != '\0') text.append(": ").append(detail);
    return text;
  }

 private:
  NcclStatus judge(ncclResult_t result) {
    if (result == ncclSuccess) return NcclStatus::kSuccess;
    if (result == ncclInProgress) return NcclStatus::kInProgress;
    last_ = result;
    return NcclStatus::kError;
  }

  const int device_;
  ncclResult_t last_ = ncclSuccess;  // these two: the thread that owns the communicator
  std::string cuda_error_;
};

}  // namespace

bool nccl_available() { return true; }

std::string nccl_version() {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) return "unknown";
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

std::shared_ptr<NcclCalls> make_nccl_calls(int device) {
  return std::make_shared<CudaNcclCalls>(device);
}

}  // namespace seamwright::comm
