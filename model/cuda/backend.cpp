#include "model/cuda/backend.h"

#include <algorithm>
#include <chrono>

#include "model/cuda/graphed_denoiser.h"

namespace seamwright::model::cuda {

CudaBackend::CudaBackend(std::shared_ptr<CudaCalls> calls, const CudaOptions& options)
    : calls_((calls->bind_thread(), std::move(calls))),
      options_(options),
      pool_(calls_),
      stream_(*calls_),
      ring_(calls_, stream_),
      transfers_(calls_, stream_),
      readbacks_(calls_, stream_) {
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
  check_not_capturing("a wait");
  calls_->bind_thread();
  calls_->wait_for_stream(stream_);
}

std::unique_ptr<Denoiser> CudaBackend::accelerated(const Denoiser& denoiser) {
  return std::make_unique<GraphedDenoiser>(denoiser, *this);
}

void CudaBackend::check_not_capturing(const char* what) const {
  ensure(!capturing_, "{} in the middle of a captured sequence", what);
}

std::shared_ptr<void> CudaBackend::capture(const std::function<void()>& body) {
  calls_->bind_thread();
  check_not_capturing("a capture");
  const auto held = transfers_.hold();
  calls_->begin_capture(stream_);
  capturing_ = true;
  try {
    body();
  } catch (...) {
    capturing_ = false;
    calls_->abandon_capture(stream_);
    throw;
  }
  capturing_ = false;
  return {calls_->end_capture(stream_),
          [calls = calls_](Graph graph) { calls->destroy_graph(graph); }};
}

// Twice: what must be compiled is under way on other threads
// while the first pass goes on without it.
bool CudaBackend::rehearse(const std::function<void()>& body) {
  calls_->bind_thread();
  calls_->plan_ahead(true);
  try {
    body();
  } catch (...) {
    calls_->plan_ahead(false);
    throw;
  }
  calls_->plan_ahead(false);
  body();
  synchronize();
  return true;
}

// A graph of many, so that neither launching nor waiting counts: the time that two more take.
std::optional<double> CudaBackend::seconds_alone(const std::function<void()>& op) {
  constexpr int kRepeats = 20;
  using Clock = std::chrono::steady_clock;
  op();  // makes plans
  const auto graph = capture([&] {
    for (int i = 0; i < kRepeats; ++i) op();
  });
  const auto run = [&](int times) {
    synchronize();
    const auto start = Clock::now();
    for (int i = 0; i < times; ++i) launch(graph.get());
    synchronize();
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  run(1);
  const double once = run(1);
  return std::max(0.0, run(3) - once) / (2 * kRepeats);
}

void CudaBackend::launch(Graph graph) {
  calls_->bind_thread();
  calls_->launch(graph, stream_);
}

void CudaBackend::copy(ConstView from, View to) {
  ensure(from.bytes() == to.bytes(), "a copy of {} bytes to {}", from.bytes(), to.bytes());
  calls_->bind_thread();
  calls_->on_device(from.data, to.data, from.bytes(), stream_);
}

std::string CudaBackend::fingerprint() const {
  return fmt::format("cuda;{};cudnn={};{}", to_string(options_.activation),
                     options_.dnn == CudaDnn::kAuto ? "auto" : "never", calls_->description());
}

Element CudaBackend::element_of(DType type) {
  switch (type) {
    case DType::kBF16:
      return Element::kBf16;
    case DType::kF16:
      return Element::kHalf;
    default:
      return Element::kF32;
  }
}

}  // namespace seamwright::model::cuda
