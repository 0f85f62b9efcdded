// Loading: stored weights of any float type to packed weights of the compute type.
#include <algorithm>

#include "model/convert.h"
#include "model/cpu/backend.h"
#include "model/cpu/parallel.h"

namespace seamwright::model::cpu {
namespace {

// Columns of one GEGLU block: its product, values and gates in fp32, stays in the second-level
// cache for a block of rows.
constexpr std::int64_t kGegluWidth = 256;
constexpr std::int64_t kConvertRun = 1 << 16;

std::size_t bytes_of(const std::vector<float>& values) { return values.size() * sizeof(float); }

}  // namespace

void CpuBackend::widen_stored(ConstView values, float* to) const {
  parallel_runs(
      threads_, values.elements(), kConvertRun, [&](std::int64_t begin, std::int64_t end, int) {
        const std::int64_t n = end - begin;
        switch (values.dtype) {
          case DType::kF32:
            return kernels_.f32.widen(values.as<float>() + begin, to + begin, n);
          case DType::kBF16:
            return kernels_.bf16.widen(values.as<Bf16>() + begin, to + begin, n);
          case DType::kF16:
            return kernels_.half_to_float(values.as<std::uint16_t>() + begin, to + begin, n);
          default: {
            const ConstView flat = values.reshaped({values.elements()}).slice(begin, n);
            convert(flat, View{to + begin, DType::kF32, {n}});
          }
        }
      });
}

std::vector<float> CpuBackend::floats_of(ConstView values) const {
  std::vector<float> result(static_cast<std::size_t>(values.elements()));
  widen_stored(values, result.data());
  return result;
}

// Large weights pass through the workspace, not through fresh memory for every layer.
const float* CpuBackend::stored_floats(ConstView values) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(values.data) % alignof(float) == 0;
  if (values.dtype == DType::kF32 && aligned) return values.as<float>();
  auto* space = reinterpret_cast<float*>(
      workspace_.at_least(static_cast<std::size_t>(values.elements()) * sizeof(float)));
  widen_stored(values, space);
  return space;
}

std::unique_ptr<CpuLinear> CpuBackend::make_linear(const float* weight, std::int64_t in,
                                                   std::int64_t out, ConstView bias) {
  auto linear = std::make_unique<CpuLinear>();
  linear->in = in;
  linear->out = out;
  if (on_tiles(in, out)) {
    linear->tiles = pack_tiles(plain_source(weight, out, in, 1), threads_);
    linear->resident_bytes = linear->tiles.bytes();
  } else if (on_panels()) {
    linear->panels = pack_panels(plain_source(weight, out, in, 1));
    linear->resident_bytes = linear->panels.bytes();
  } else {
    linear->weights = onednn_.pack_linear(weight, in, out, compute_, threads_);
    linear->resident_bytes = linear->weights.bytes();
  }
  if (bias) linear->bias = floats_of(bias);
  linear->resident_bytes += bytes_of(linear->bias);
  return linear;
}

std::unique_ptr<PreparedLinear> CpuBackend::prepare_linear(ConstView weight, ConstView bias) {
  return make_linear(stored_floats(weight), weight.shape[1], weight.shape[0], bias);
}

std::unique_ptr<PreparedLinear> CpuBackend::prepare_geglu(ConstView weight, ConstView bias) {
  const std::int64_t in = weight.shape[1], inner = weight.shape[0] / 2;
  const float* rows = stored_floats(weight);
  const std::vector<float> shifts = bias ? floats_of(bias) : std::vector<float>();
  auto geglu = std::make_unique<CpuGeglu>();
  geglu->in = in;
  geglu->out = inner;
  const bool tiles = on_tiles(in, inner);
  if (tiles || on_panels()) {
    const std::int64_t half = (tiles ? kPanelColumns : kernels_.panel) / 2;
    const WeightSource source = gated_source(rows, inner, in, half);
    if (tiles) {
      geglu->tiles = pack_tiles(source, threads_);
    } else {
      geglu->panels = pack_panels(source);
    }
    for (const std::int64_t row : shifts.empty() ? std::vector<std::int64_t>() : source.order) {
      geglu->gated_bias.push_back(row < 0 ? 0.0F : shifts[static_cast<std::size_t>(row)]);
    }
    geglu->resident_bytes =
        geglu->tiles.bytes() + geglu->panels.bytes() + bytes_of(geglu->gated_bias);
    return geglu;
  }
  for (std::int64_t begin = 0; begin < inner; begin += kGegluWidth) {
    CpuGeglu::Block block;
    block.begin = begin;
    block.width = std::min(kGegluWidth, inner - begin);
    std::vector<float> both;
    for (std::int64_t first : {begin, inner + begin}) {
      both.insert(both.end(), rows + first * in, rows + (first + block.width) * in);
      if (shifts.empty()) continue;
      block.bias.insert(block.bias.end(), shifts.begin() + first,
                        shifts.begin() + first + block.width);
    }
    block.weights = onednn_.pack_linear(both.data(), in, 2 * block.width, compute_, threads_);
    geglu->resident_bytes += block.weights.bytes() + bytes_of(block.bias);
    geglu->blocks.push_back(std::move(block));
  }
  return geglu;
}

std::unique_ptr<PreparedConv> CpuBackend::prepare_conv(const ConvSpec& spec, ConstView weight,
                                                       ConstView bias) {
  auto conv = std::make_unique<CpuConv>();
  conv->spec = spec;
  const float* values = stored_floats(weight);
  const bool tiled = on_tiles(spec.in, spec.out) && keeps_size(spec);
  if (spec.wide_result && activation_ != DType::kF32 && !tiled) {
    conv->weights = onednn_.pack_conv(values, spec, DType::kF32, threads_);
    if (bias) conv->bias = floats_of(bias);
    conv->resident_bytes = conv->weights.bytes() + bytes_of(conv->bias);
    return conv;
  }
  if (spec.kernel == 1 && spec.stride == 1 && spec.pad_top + spec.pad_left == 0 &&
      spec.pad_bottom + spec.pad_right == 0) {
    conv->linear = make_linear(values, spec.in, spec.out, bias);
    conv->resident_bytes = conv->linear->resident_bytes;
    return conv;
  }
  conv->winograd_tile = winograd_tile_for(spec);
  if (conv->winograd_tile != 0) {
    pack_winograd(values, *conv);
  } else if (tiled) {
    conv->tiles = pack_tiles(plain_source(values, spec.out, spec.in, 9), threads_);
    conv->resident_bytes = conv->tiles.bytes();
  } else {
    conv->weights = onednn_.pack_conv(values, spec, compute_, threads_);
  }
  if (bias) conv->bias = floats_of(bias);
  conv->resident_bytes +=
      conv->weights.bytes() + conv->winograd.view().bytes() + bytes_of(conv->bias);
  return conv;
}

std::unique_ptr<PreparedNorm> CpuBackend::prepare_norm(ConstView scale, ConstView shift,
                                                       double eps) {
  auto norm = std::make_unique<CpuNorm>();
  norm->channels = scale.elements();
  norm->eps = eps;
  norm->scale = floats_of(scale);
  norm->shift = floats_of(shift);
  norm->resident_bytes = bytes_of(norm->scale) + bytes_of(norm->shift);
  return norm;
}

}  // namespace seamwright::model::cpu
