#include "model/cuda/backend.h"

namespace seamwright::model::cuda {

CudaBackend::CudaBackend(std::shared_ptr<CudaCalls> calls, const CudaOptions& options)
    : calls_((calls->bind_thread(), std::move(calls))),
      options_(options),
      pool_(calls_),
      stream_(*calls_),
      ring_(calls_, stream_),
      transfers_(calls_, stream_) {
  const DType type = options.activation;
  require(type == DType::kF32 || type == DType::kF16 || type == DType::kBF16,
          "the CUDA backend computes in F32, F16 or BF16, not {}", to_string(type));
}

CudaBackend::~CudaBackend() {
  try {
    calls_->bind_thread();
    calls_->wait_for_stream(stream_);
  } catch (const Error&) {  // a device that failed has nothing left to wait for
  }
}

void CudaBackend::synchronize() {
  calls_->bind_thread();
  calls_->wait_for_stream(stream_);
}

std::string CudaBackend::fingerprint() const {
  return fmt::format("cuda;{};convolutions={};{}", to_string(options_.activation),
                     options_.convolutions == CudaConvolutions::kAuto ? "auto" : "products",
                     calls_->description());
}

Element CudaBackend::element() const {
  switch (options_.activation) {
    case DType::kBF16:
      return Element::kBf16;
    case DType::kF16:
      return Element::kHalf;
    default:
      return Element::kF32;
  }
}

}  // namespace seamwright::model::cuda
