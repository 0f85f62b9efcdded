// The op seam: everything a network needs from a device, as about twenty virtual calls.
// Shapes are checked by model/ops.h before a call arrives here; a backend only fills outputs.
// Threads: one thread at a time per backend object. Calls are stream-ordered: outputs are valid
// for later calls at once, for the host after synchronize().
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "model/tensor.h"

namespace seamwright::model {

enum class Activation : std::uint8_t { kNone, kSilu, kRelu, kGelu /* erf */, kQuickGelu };

struct ConvSpec {
  std::int64_t in = 0, out = 0;
  int kernel = 3;  // square
  int stride = 1;
  // Zero padding; the VAE encoder pads right and bottom only.
  int pad_top = 1, pad_left = 1, pad_bottom = 1, pad_right = 1;
  bool wide_result = false;  // the result, and a residual, have Backend::wide_type()
  static ConvSpec same(std::int64_t in, std::int64_t out, int kernel) {
    const int p = kernel / 2;
    return {in, out, kernel, 1, p, p, p, p, false};
  }
};

// Weights in a backend's own layout, laid out once at load.
class PreparedConv {
 public:
  virtual ~PreparedConv() = default;
  ConvSpec spec;
  std::size_t resident_bytes = 0;
};
class PreparedLinear {
 public:
  virtual ~PreparedLinear() = default;
  std::int64_t in = 0, out = 0;
  std::size_t resident_bytes = 0;
};
// Scale and shift of a normalisation, [C] each, in the backend's own precision.
class PreparedNorm {
 public:
  virtual ~PreparedNorm() = default;
  std::int64_t channels = 0;
  double eps = 1e-5;
  std::size_t resident_bytes = 0;
};

// What is added to a convolution's or linear's result before it is stored, in this order.
struct Epilogue {
  ConstView per_channel{};  // [out] or [N, out] (one row per frame): the time embedding
  Activation activation = Activation::kNone;
  ConstView residual{};  // same shape and dtype as the output; added after the activation
  // Applied last (AutoencoderTiny's block: relu after the residual).
  Activation last = Activation::kNone;
};

// Bytes on their way from a device to the host.
// Threads: wait() from any, one at a time; either may be called
// once the backend is busy with other work.
class Readback {
 public:
  virtual ~Readback() = default;  // nothing is written to the host from then on
  // Until they are there. Throws kResource when the device failed, every time.
  virtual void wait() = 0;
};

enum class NormExtent : std::uint8_t { kPerFrame, kAcrossFrames };

class Denoiser;

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view name() const = 0;  // "reference", "cpu", "cuda"
  virtual DType activation_type() const = 0;  // f64, f32 or bf16
  // What a convolution gives whose result must not be rounded to a narrow activation type. A
  // backend without such convolutions gives activation_type().
  virtual DType wide_type() const { return activation_type(); }
  // Whether the last blocks of a U-Net add up in wide_type():
  // linear() and group_norm() take it too.
  virtual bool wide_residuals() const { return false; }
  // Whether queries, keys and values of a self-attention are quicker as one product: then networks
  // load them by prepare_joined() and call self_attention() and temporal_self_attention().
  virtual bool joined_projections() const { return false; }
  virtual Allocator& memory() = 0;  // where tensors for this backend live
  // The most this backend held at once of memory that the process does not show; 0: none.
  virtual std::size_t peak_device_bytes() const { return 0; }
  virtual void synchronize() {}
  // What the bits depend on besides the request: library versions, instruction set, algorithms.
  virtual std::string fingerprint() const = 0;
  // Threads used inside one op; results must not depend on it.
  virtual void set_threads(int threads) = 0;

  // ---- load: stored weights (F64/F32/F16/BF16 on the host) to the backend's own form
  virtual std::unique_ptr<PreparedConv> prepare_conv(const ConvSpec& spec,
                                                     ConstView weight /* [out, in, k, k] */,
                                                     ConstView bias /* [out] or absent */) = 0;
  virtual std::unique_ptr<PreparedLinear> prepare_linear(ConstView weight /* [out, in] */,
                                                         ConstView bias /* [out] or absent */) = 0;
  // Several layers of the same input without biases, [out, in] each, as one whose results lie side
  // by side. Only where projections are joined.
  virtual std::unique_ptr<PreparedLinear> prepare_joined(std::span<const ConstView> weights);
  // weight [2*inner, in]: first half value, second half gate (model-facts 2.6).
  virtual std::unique_ptr<PreparedLinear> prepare_geglu(ConstView weight, ConstView bias) = 0;
  virtual std::unique_ptr<PreparedNorm> prepare_norm(ConstView scale, ConstView shift,
                                                     double eps) = 0;

  // ---- host <-> device; converts between f32/f64 on the host and the activation type
  virtual void upload(ConstView host, View device) = 0;
  virtual void download(ConstView device, View host) = 0;
  // Raw bytes of a tensor in the type it has in memory, for sending between ranks. These suit
  // backends whose memory the host can reach.
  virtual void copy_out(ConstView device, std::span<std::byte> host);
  virtual void copy_in(std::span<const std::byte> host, View device);
  // One tensor's bytes to another of the same size, both in this backend's memory.
  virtual void copy(ConstView from, View to);
  // The bytes of a tensor to `host`, behind everything computed so far; what follows on the device
  // goes on beside it, and the tensor may go at once. `host` must stay until the result has gone.
  // Null where they are there already.
  virtual std::unique_ptr<Readback> read_back(ConstView device, std::span<std::byte> host);
  // For whoever moves tensors between devices without the host: a stream of the device's own kind
  // behind everything computed so far. Null where memory is the host's. As the two above, from any
  // thread.
  virtual void* stream_behind_work() { return nullptr; }

  // A denoiser that gives `denoiser`'s bits with less to do between ops, for one thread at a time;
  // null where there is none. `denoiser` and the backend must outlive it.
  virtual std::unique_ptr<Denoiser> accelerated(const Denoiser& denoiser);

  // The seconds that op(), which puts ops of this backend on the device, takes there with nothing
  // to wait for; op runs many times. None where a clock around op tells as much.
  virtual std::optional<double> seconds_alone(const std::function<void()>& op);

  // For a backend that makes plans or compiles kernels when a shape first comes: runs `body`, whose
  // ops are those of a job and whose results nobody needs, until all is made. False where nothing
  // is made ahead, and `body` did not run.
  virtual bool rehearse(const std::function<void()>& body);

  // ---- ops. Activations have activation_type() unless said otherwise; x is [N, H, W, C].
  virtual void conv2d(const PreparedConv& conv, ConstView x, const Epilogue& epilogue, View y,
                      Allocator& scratch) = 0;
  // x [..., in] -> y [..., out]; per_channel [N, out] applies to equal runs of rows. y and the
  // residual may have wide_type() where the backend has wide_residuals().
  virtual void linear(const PreparedLinear& linear, ConstView x, const Epilogue& epilogue, View y,
                      Allocator& scratch) = 0;
  // y [..., inner] = value * gelu(gate), exact erf gelu.
  virtual void geglu(const PreparedLinear& linear, ConstView x, View y, Allocator& scratch) = 0;
  // Statistics in fp32 or better over (C/groups, H, W) of one frame, or of all N frames together. x
  // may have wide_type() where the backend has wide_residuals().
  virtual void group_norm(const PreparedNorm& norm, int groups, NormExtent extent,
                          Activation activation, ConstView x, View y, Allocator& scratch) = 0;
  // Over the last dimension; then adds position [shape[0], C] (rows by outermost index) if given.
  virtual void layer_norm(const PreparedNorm& norm, ConstView x, ConstView position, View y) = 0;
  // q [N, S, heads*D], k and v [N or 1, T, heads*D] -> y like q. scale = 1/sqrt(D).
  // k, v with one batch row are shared by all N. Never holds a full score matrix.
  virtual void attention(int heads, bool causal, ConstView q, ConstView k, ConstView v, View y,
                         Allocator& scratch) = 0;
  // q, k, v [F, S, heads*D]: attention over F for every one of the S positions.
  virtual void temporal_attention(int heads, ConstView q, ConstView k, ConstView v, View y,
                                  Allocator& scratch) = 0;
  // The two above with q, k and v side by side in every row: qkv [N, S, 3*heads*D] -> y
  // [N, S, heads*D]. Only where projections are joined.
  virtual void self_attention(int heads, ConstView qkv, View y, Allocator& scratch);
  virtual void temporal_self_attention(int heads, ConstView qkv, View y, Allocator& scratch);
  virtual void add(ConstView a, ConstView b, View y) = 0;
  virtual void activate(Activation activation, ConstView x, View y) = 0;
  // y = limit * tanh(x / limit): AutoencoderTiny's clamp.
  virtual void soft_clamp(double limit, ConstView x, View y) = 0;
  virtual void affine(double scale, double shift, ConstView x, View y) = 0;  // y = scale*x + shift
  virtual void concat_channels(ConstView a, ConstView b, View y) = 0;
  virtual void upsample_nearest(ConstView x, View y) = 0;  // [N,H,W,C] -> y's H and W
  // A decoder's values, x of activation_type() or wide_type(), to 8 bits, y kU8. Every backend
  // gives the same bytes for the same values: as fp32, x / 2 + 0.5, NaN and what is below 0 to 0,
  // above 1 to 1, times 255, to the nearest integer, ties to even.
  virtual void pixels_to_rgb8(ConstView x, View y) = 0;
  // table [V, C] (prepared by upload), ids on the host -> y [ids.size(), C]
  virtual void gather_rows(ConstView table, std::span<const std::int32_t> ids, View y) = 0;
};

}  // namespace seamwright::model
