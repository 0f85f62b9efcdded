// Convolutions: chunks of whole images, or of bands of rows of large ones, each on one thread.
#include <algorithm>

#include "model/cpu/backend.h"
#include "model/cpu/parallel.h"

namespace seamwright::model::cpu {
namespace {

constexpr std::int64_t kBandPixels = 1024, kSmallPixels = 64;

// Output rows [first, first + rows) of images [image, image + images), and the input they need.
struct Band {
  std::int64_t image = 0, images = 1, first = 0, rows = 0;
  std::int64_t in_first = 0, in_rows = 0;
  int pad_top = 0, pad_bottom = 0;
};

Band band_of(const ConvSpec& s, std::int64_t in_height, std::int64_t image, std::int64_t images,
             std::int64_t first, std::int64_t rows) {
  Band band{image, images, first, rows};
  const std::int64_t top = first * s.stride - s.pad_top;  // first input row, padding included
  const std::int64_t bottom = (first + rows - 1) * s.stride - s.pad_top + s.kernel;
  band.in_first = std::max<std::int64_t>(top, 0);
  const std::int64_t in_end = std::min(bottom, in_height);
  band.in_rows = in_end - band.in_first;
  band.pad_top = static_cast<int>(band.in_first - top);
  band.pad_bottom = static_cast<int>(bottom - in_end);
  return band;
}

// A function of the shape alone. One image may be cut into bands; small images go together, since
// a product of few pixels would spend its time fetching weights.
std::vector<Band> bands_of(const ConvSpec& s, std::int64_t in_height, const Shape& y,
                           bool one_image_each) {
  const std::int64_t pixels = y[1] * y[2];
  std::vector<Band> bands;
  if (pixels <= kSmallPixels && !one_image_each) {
    const std::int64_t together = ceil_div(kSmallPixels, std::max<std::int64_t>(pixels, 1));
    for (std::int64_t n = 0; n < y[0]; n += together) {
      bands.push_back(band_of(s, in_height, n, std::min(together, y[0] - n), 0, y[1]));
    }
    return bands;
  }
  const std::int64_t step = std::clamp<std::int64_t>(kBandPixels / y[2], 1, y[1]);
  for (std::int64_t n = 0; n < y[0]; ++n) {
    for (std::int64_t first = 0; first < y[1]; first += step) {
      bands.push_back(band_of(s, in_height, n, 1, first, std::min(step, y[1] - first)));
    }
  }
  return bands;
}

}  // namespace

void CpuBackend::conv2d(const PreparedConv& prepared, ConstView x, const Epilogue& epilogue, View y,
                        Allocator& scratch) {
  const auto& conv = as<CpuConv>(prepared);
  if (conv.linear) return linear(*conv.linear, x, epilogue, y, scratch);
  if (y.elements() == 0) return;
  const ConvSpec& s = conv.spec;
  const std::int64_t height = x.shape[1], width = x.shape[2], images = y.shape[0];
  const ConstView& per_channel = epilogue.per_channel;
  const bool per_image = per_channel && per_channel.shape.rank() == 2 && per_channel.shape[0] > 1;
  ensure(!per_image || images % per_channel.shape[0] == 0,
         "conv2d: per_channel {} does not divide {} images", per_channel.shape.to_string(), images);
  std::vector<std::vector<float>> biases;
  for (std::int64_t r = 0; r < (per_image ? per_channel.shape[0] : 1); ++r) {
    biases.push_back(shifted_bias(conv.bias, per_image ? per_channel.slice(r, 1) : per_channel));
  }
  if (conv.winograd_tile != 0) return winograd_conv(conv, biases, x, epilogue, y);
  const auto images_per_bias = images / static_cast<std::int64_t>(biases.size());

  const std::vector<Band> bands = bands_of(s, height, y.shape, per_image);
  std::vector<const Plan*> plans;
  std::size_t work = 0;
  for (const Band& band : bands) {
    ConvShape shape{band.images,
                    band.in_rows,
                    width,
                    s,
                    compute_,
                    {!biases[0].empty(), epilogue.activation, static_cast<bool>(epilogue.residual),
                     epilogue.last}};
    shape.spec.pad_top = band.pad_top;
    shape.spec.pad_bottom = band.pad_bottom;
    plans.push_back(&onednn_.find(shape, conv.weights));
    work = std::max(work, plan_work(*plans.back(), band.images * band.in_rows * width * s.in,
                                    band.images * band.rows * y.shape[2] * s.out));
  }
  std::byte* space = workspace_.at_least(work * static_cast<std::size_t>(threads_));
  const std::size_t size = byte_size(activation_);
  parallel_for(
      threads_, static_cast<std::int64_t>(bands.size()), [&](std::int64_t chunk, int worker) {
        const Band& band = bands[static_cast<std::size_t>(chunk)];
        const std::int64_t from = (band.image * height + band.in_first) * width * s.in;
        const std::int64_t to = (band.image * y.shape[1] + band.first) * y.shape[2] * s.out;
        Operands o;
        o.x = static_cast<const std::byte*>(x.data) + static_cast<std::size_t>(from) * size;
        o.weights = &conv.weights;
        const auto& bias = biases[static_cast<std::size_t>(band.image / images_per_bias)];
        o.bias = bias.empty() ? nullptr : bias.data();
        if (epilogue.residual) {
          o.residual = static_cast<const std::byte*>(epilogue.residual.data) +
                       static_cast<std::size_t>(to) * size;
        }
        o.y = static_cast<std::byte*>(y.data) + static_cast<std::size_t>(to) * size;
        run_plan(*plans[static_cast<std::size_t>(chunk)], o,
                 band.images * band.in_rows * width * s.in,
                 band.images * band.rows * y.shape[2] * s.out,
                 space + work * static_cast<std::size_t>(worker));
      });
}

}  // namespace seamwright::model::cpu
