// The CUDA backend's class, over the vendor calls of calls.h and the kernels of kernels.h. Ops live
// in the file of their kind: products.cpp, conv.cpp, attention.cpp, elements.cpp; loading in
// prepare.cpp, copies in transfer.cpp.
// Threads: as cuda_backend.h says.
#pragma once

#include <functional>
#include <mutex>
#include <string>

#include "model/cuda/calls.h"
#include "model/cuda/cuda_backend.h"
#include "model/cuda/kernels.h"
#include "model/cuda/memory.h"
#include "model/cuda/prepared.h"
#include "model/cuda/readback.h"

namespace seamwright::model::cuda {

// Owns a stream.
class OwnedStream {
 public:
  explicit OwnedStream(CudaCalls& calls) : calls_(calls), stream_(calls.create_stream()) {}
  ~OwnedStream() { calls_.destroy_stream(stream_); }
  OwnedStream(const OwnedStream&) = delete;
  OwnedStream& operator=(const OwnedStream&) = delete;
  operator Stream() const { return stream_; }  // NOLINT: it stands for its stream

 private:
  CudaCalls& calls_;
  Stream stream_;
};

// Raw bytes between device and other memory of this process, beside the compute stream.
// Threads: any; one copy at a time.
class Transfers {
 public:
  Transfers(std::shared_ptr<CudaCalls> calls, Stream compute);
  ~Transfers();
  void copy_out(const void* device, std::span<std::byte> host);
  void copy_in(std::span<const std::byte> host, void* device);
  // A stream that has waited for what is on the compute stream now.
  Stream behind_compute();
  // While it is held no copy ties itself to the compute stream: a capture of that stream would take
  // such a tie for a part of the graph.
  [[nodiscard]] std::unique_lock<std::mutex> hold() { return std::unique_lock(mutex_); }

 private:
  void wait_for_compute();
  std::byte* staging(std::size_t bytes);

  std::shared_ptr<CudaCalls> calls_;
  Stream compute_;
  OwnedStream stream_;
  Event computed_, copied_;
  std::byte* pinned_ = nullptr;
  std::size_t pinned_bytes_ = 0;
  std::mutex mutex_;
};

class CudaBackend final : public Backend {
 public:
  CudaBackend(std::shared_ptr<CudaCalls> calls, const CudaOptions& options);
  ~CudaBackend() override;

  std::string_view name() const override { return "cuda"; }
  DType activation_type() const override { return options_.activation; }
  DType wide_type() const override { return DType::kF32; }
  bool joined_projections() const override { return true; }
  Allocator& memory() override { return pool_; }
  std::size_t peak_device_bytes() const override { return pool_.report().held_peak_bytes; }
  void synchronize() override;
  std::string fingerprint() const override;
  void set_threads(int) override {}

  std::unique_ptr<PreparedConv> prepare_conv(const ConvSpec& spec, ConstView weight,
                                             ConstView bias) override;
  std::unique_ptr<PreparedLinear> prepare_linear(ConstView weight, ConstView bias) override;
  std::unique_ptr<PreparedLinear> prepare_joined(std::span<const ConstView> weights) override;
  std::unique_ptr<PreparedLinear> prepare_geglu(ConstView weight, ConstView bias) override;
  std::unique_ptr<PreparedNorm> prepare_norm(ConstView scale, ConstView shift, double eps) override;

  void upload(ConstView host, View device) override;
  void download(ConstView device, View host) override;
  void copy_out(ConstView device, std::span<std::byte> host) override;
  void copy_in(std::span<const std::byte> host, View device) override;
  void copy(ConstView from, View to) override;
  std::unique_ptr<Readback> read_back(ConstView device, std::span<std::byte> host) override;
  void* stream_behind_work() override { return transfers_.behind_compute(); }
  std::unique_ptr<Denoiser> accelerated(const Denoiser& denoiser) override;

  bool rehearse(const std::function<void()>& body) override;
  std::optional<double> seconds_alone(const std::function<void()>& op) override;

  // For graphs. What body() puts on the stream, instead of
  // running it; body must not touch the host.
  std::shared_ptr<void> capture(const std::function<void()>& body);
  void launch(Graph graph);
  Stream stream() const { return stream_; }  // for measuring

  void conv2d(const PreparedConv& conv, ConstView x, const Epilogue& epilogue, View y,
              Allocator& scratch) override;
  void linear(const PreparedLinear& linear, ConstView x, const Epilogue& epilogue, View y,
              Allocator& scratch) override;
  void geglu(const PreparedLinear& linear, ConstView x, View y, Allocator& scratch) override;
  void group_norm(const PreparedNorm& norm, int groups, NormExtent extent, Activation activation,
                  ConstView x, View y, Allocator& scratch) override;
  void layer_norm(const PreparedNorm& norm, ConstView x, ConstView position, View y) override;
  void attention(int heads, bool causal, ConstView q, ConstView k, ConstView v, View y,
                 Allocator& scratch) override;
  void temporal_attention(int heads, ConstView q, ConstView k, ConstView v, View y,
                          Allocator& scratch) override;
  void self_attention(int heads, ConstView qkv, View y, Allocator& scratch) override;
  void temporal_self_attention(int heads, ConstView qkv, View y, Allocator& scratch) override;
  void add(ConstView a, ConstView b, View y) override;
  void activate(Activation activation, ConstView x, View y) override;
  void soft_clamp(double limit, ConstView x, View y) override;
  void affine(double scale, double shift, ConstView x, View y) override;
  void concat_channels(ConstView a, ConstView b, View y) override;
  void upsample_nearest(ConstView x, View y) override;
  void pixels_to_rgb8(ConstView x, View y) override;
  void gather_rows(ConstView table, std::span<const std::int32_t> ids, View y) override;

 private:
  Element element() const { return element_of(options_.activation); }
  static Element element_of(DType type);
  // Host copies have no place in a graph.
  void check_not_capturing(const char* what) const;
  // Device copies of host values, converted to `type`.
  Tensor resident(ConstView host, DType type);
  Tensor resident(ConstView host) { return resident(host, options_.activation); }
  std::unique_ptr<CudaLinear> make_linear(ConstView weight, ConstView bias);

  // x [rows, in] times [out, in]^T with what a product can add itself; the rest by finish().
  void product(const Tensor& weight, ConstView bias, std::int64_t rows, ConstView x,
               const Epilogue& epilogue, View y);
  // Bias, per_channel and residual have y's type.
  void finish_in_place(ConstView bias, const Epilogue& epilogue, View y);
  // An operand of a finish in y's type; `held` keeps it where it had another.
  ConstView widened(ConstView operand, DType type, Tensor& held, Allocator& scratch);
  void convolve(const Convolution& convolution, std::int64_t out, const void* x, const void* w,
                View y, Allocator& scratch);
  void convolve_by_products(const Convolution& convolution, const void* x, const void* w, void* y,
                            Allocator& scratch);
  void attend(AttentionCall call, Allocator& scratch);  // every query sees every key
  void attend_by_rows(const AttentionCall& call, bool causal, Allocator& scratch);

  std::shared_ptr<CudaCalls> calls_;
  CudaOptions options_;
  DevicePool pool_;
  OwnedStream stream_;
  PinnedRing ring_;
  Transfers transfers_;
  Readbacks readbacks_;
  bool capturing_ = false;
};

}  // namespace seamwright::model::cuda
