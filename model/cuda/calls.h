// The vendor calls that the CUDA backend makes, and nothing more of any library.
// Threads: implementations are safe from several threads; a stream's order is that of the calls.
//
// An interface, so that the backend can run in tests on a machine without a GPU, over a double that
// computes on the host. What passes there proves our side only, not the libraries'.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "model/backend.h"
#include "model/cuda/kernels/types.h"

namespace seamwright::model::cuda {

using Event = void*;
using Graph = void*;

// D = x * w^T per batch entry, with x [rows, in], w [out, in] and D [rows, out], all row-major:
//   D = last(scale * x * w^T + bias + residual). Sums are fp32; no split along `in`.
struct Product {
  std::int64_t rows = 0, in = 0, out = 0;
  std::int64_t x_stride = 0, w_stride = 0, y_stride = 0;  // elements between rows
  std::int64_t batch = 1;
  std::int64_t x_batch = 0, w_batch = 0, y_batch = 0;  // elements between batch entries
  bool w_transposed = false;                           // w is [in, out] instead
  float scale = 1;
  DType type = DType::kF32;                           // of x, w, bias and residual
  DType result_type = DType::kF32;                    // of D
  bool bias = false, residual = false, relu = false;  // relu needs bias
  bool operator==(const Product&) const = default;
  auto operator<=>(const Product&) const = default;
};
struct ProductOperands {
  const void* x = nullptr;
  const void* w = nullptr;
  const void* bias = nullptr;      // [out]
  const void* residual = nullptr;  // like D
  void* y = nullptr;
};

// y = conv(x, w), nothing added; x [n, h, w, in], w [out, k, k, in], y [n, oh, ow, out].
struct Convolution {
  std::int64_t n = 0, h = 0, w = 0, in = 0, oh = 0, ow = 0, out = 0;
  int kernel = 3, stride = 1;
  int pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  DType type = DType::kF32;         // of x and w
  DType result_type = DType::kF32;  // of y
  bool operator==(const Convolution&) const = default;
  auto operator<=>(const Convolution&) const = default;
};

// y = softmax(q k^T / sqrt(head_size)) v; q and y [n, queries, heads, head_size], k and v
// [n or 1, keys, heads, head_size]; y is dense.
struct Attention {
  std::int64_t n = 0, queries = 0, keys = 0, heads = 0, head_size = 0;
  std::int64_t row = 0;  // elements between rows of q, k and v: heads * head_size where dense
  DType type = DType::kF32;
  bool shared_keys = false;  // k and v have one entry for all n
  bool operator==(const Attention&) const = default;
  auto operator<=>(const Attention&) const = default;
};
struct AttentionOperands {
  const void *q = nullptr, *k = nullptr, *v = nullptr;
  void* y = nullptr;
};

class CudaCalls {
 public:
  virtual ~CudaCalls() = default;

  // Names device, libraries and what else the bits may depend on.
  virtual std::string description() const = 0;
  // Makes the calling thread use this device.
  virtual void bind_thread() = 0;

  // Memory; throws kResource. Device memory is 256-byte aligned.
  virtual void* allocate_device(std::size_t bytes) = 0;
  virtual void free_device(void* data) noexcept = 0;
  virtual std::byte* allocate_pinned(std::size_t bytes) = 0;
  virtual void free_pinned(std::byte* data) noexcept = 0;

  virtual Stream create_stream() = 0;
  virtual void destroy_stream(Stream stream) noexcept = 0;
  virtual void wait_for_stream(Stream stream) = 0;
  virtual Event create_event() = 0;
  virtual void destroy_event(Event event) noexcept = 0;
  virtual void record(Event event, Stream stream) = 0;
  virtual void make_wait(Stream stream, Event event) = 0;
  virtual void wait_for_event(Event event) = 0;

  // `host` must be pinned and stay unchanged until the stream has passed.
  virtual void to_device(const std::byte* host, void* device, std::size_t bytes, Stream stream) = 0;
  virtual void to_host(const void* device, std::byte* host, std::size_t bytes, Stream stream) = 0;
  virtual void on_device(const void* from, void* to, std::size_t bytes, Stream stream) = 0;

  // Everything put on `stream` by this thread between the two becomes a graph instead of running.
  virtual void begin_capture(Stream stream) = 0;
  virtual Graph end_capture(Stream stream) = 0;
  virtual void abandon_capture(Stream stream) noexcept = 0;
  virtual void launch(Graph graph, Stream stream) = 0;
  virtual void destroy_graph(Graph graph) noexcept = 0;

  // The same bits for the same shape on the same device: algorithms are chosen by a timing only
  // among those that give the same bits.
  virtual void multiply(const Product& product, const ProductOperands& operands, Stream stream) = 0;
  // False where there is no deterministic engine without runtime compilation for the shape, always
  // the same answer for the same shape.
  virtual bool can_convolve(const Convolution& convolution) = 0;
  virtual void convolve(const Convolution& convolution, const void* x, const void* w, void* y,
                        Stream stream) = 0;
  // As can_convolve, but the first question about a shape may compile for seconds.
  virtual bool can_attend(const Attention& attention) = 0;
  virtual void attend(const Attention& attention, const AttentionOperands& operands,
                      Stream stream) = 0;
  // While it is on, can_attend() answers no for a shape it does not know yet, whose plan is then
  // made on a thread of its own.
  virtual void plan_ahead(bool on) = 0;
};

}  // namespace seamwright::model::cuda
