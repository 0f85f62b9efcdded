// Convolutions: to few channels by our own kernel; else by cuDNN where it has a deterministic
// engine, as products over gathered patches where it has none.
#include <algorithm>

#include "model/cuda/backend.h"

namespace seamwright::model::cuda {
namespace {

// Bytes of patches gathered at a time.
constexpr std::int64_t kPatchBytes = std::int64_t{256} << 20;
// From so few channels patches are small, and cuDNN's engines slow.
constexpr std::int64_t kFewChannels = 16;

}  // namespace

void CudaBackend::convolve_by_products(const Convolution& c, const void* x, const void* w, void* y,
                                       Allocator& scratch) {
  const std::int64_t width = c.kernel * c.kernel * c.in, rows = c.n * c.oh * c.ow;
  const auto size = static_cast<std::int64_t>(byte_size(c.type));
  const auto result_size = static_cast<std::int64_t>(byte_size(c.result_type));
  const std::int64_t part = std::clamp<std::int64_t>(kPatchBytes / (width * size), 1, rows);
  Tensor patches(scratch, c.type, {part, width});
  const PatchShape shape{c.h, c.w, c.in, c.oh, c.ow, c.kernel, c.stride, c.pad_top, c.pad_left};
  for (std::int64_t first = 0; first < rows; first += part) {
    Product p;
    p.rows = std::min(part, rows - first);
    p.in = p.x_stride = p.w_stride = width;
    p.out = p.y_stride = c.out;
    p.type = c.type;
    p.result_type = c.result_type;
    gather_patches(element(), shape, x, patches.view().data, first, p.rows, stream_);
    calls_->multiply(p,
                     {patches.view().data, w, nullptr, nullptr,
                      static_cast<std::byte*>(y) + first * c.out * result_size},
                     stream_);
  }
}

ConstView CudaBackend::widened(ConstView operand, DType type, Tensor& held, Allocator& scratch) {
  if (!operand || operand.dtype == type) return operand;
  held = Tensor(scratch, type, operand.shape);
  widen(element_of(operand.dtype), operand.data, held.view().as<float>(), operand.elements(),
        stream_);
  return held.view();
}

// y has the first `out` of the convolution's channels.
void CudaBackend::convolve(const Convolution& c, std::int64_t out, const void* x, const void* w,
                           View y, Allocator& scratch) {
  const std::int64_t pixels = y.elements() / out;
  if (c.type != DType::kF32 && c.result_type == DType::kF32 && c.out == 8 && c.in % 16 == 0) {
    const PatchShape shape{c.h, c.w, c.in, c.oh, c.ow, c.kernel, c.stride, c.pad_top, c.pad_left};
    return convolve_narrow(element(), shape, x, w, y.as<float>(), pixels, static_cast<int>(out),
                           stream_);
  }
  Tensor wide;
  void* output = y.data;
  if (c.out != out) {
    wide = Tensor(scratch, y.dtype, {y.shape[0], y.shape[1], y.shape[2], c.out});
    output = wide.view().data;
  }
  if (options_.dnn == CudaDnn::kAuto && c.in > kFewChannels && calls_->can_convolve(c)) {
    calls_->convolve(c, x, w, output, stream_);
  } else {
    convolve_by_products(c, x, w, output, scratch);
  }
  if (wide) {
    copy_columns(element_of(y.dtype), output, c.out, y.data, out, pixels, out, false, stream_);
  }
}

void CudaBackend::conv2d(const PreparedConv& prepared, ConstView x, const Epilogue& epilogue,
                         View y, Allocator& scratch) {
  calls_->bind_thread();
  const auto& conv = as<CudaConv>(prepared);
  if (y.elements() == 0) return;
  const std::int64_t pixels = x.elements() / conv.spec.in;
  if (conv.pointwise) return product(conv.weight, conv.bias, pixels, x, epilogue, y);

  const ConvSpec& s = conv.spec;
  const Convolution c{x.shape[0], x.shape[1],      x.shape[2],  conv.padded_in, y.shape[1],
                      y.shape[2], conv.padded_out, s.kernel,    s.stride,       s.pad_top,
                      s.pad_left, s.pad_bottom,    s.pad_right, x.dtype,        y.dtype};
  const void* input = x.data;
  Tensor padded;
  if (conv.padded_in != s.in) {
    padded = Tensor(scratch, x.dtype, {x.shape[0], x.shape[1], x.shape[2], conv.padded_in});
    copy_columns(element(), x.data, s.in, padded.view().data, conv.padded_in, pixels, s.in, true,
                 stream_);
    input = padded.view().data;
  }
  convolve(c, s.out, input, conv.weight.view().data, y, scratch);
  const bool nothing_left = !conv.bias && !epilogue.per_channel && !epilogue.residual &&
                            epilogue.activation == Activation::kNone &&
                            epilogue.last == Activation::kNone;
  if (nothing_left) return;
  Tensor per_channel, residual;
  Epilogue rest = epilogue;
  rest.per_channel = widened(epilogue.per_channel, y.dtype, per_channel, scratch);
  rest.residual = widened(epilogue.residual, y.dtype, residual, scratch);
  finish_in_place(conv.bias, rest, y);
}

}  // namespace seamwright::model::cuda
