// Convolutions: chunks of whole images, or of bands of rows of large ones, each on one thread.
#include <algorithm>

#include "model/cpu/backend.h"
#include "model/cpu/parallel.h"

namespace seamwright::model::cpu {
namespace {

constexpr std::int64_t kBandPixels = 1024, kSmallPixels = 64;

// Images up to this width go side by side: the products behind a convolution are one line of pixels
// each, and lines of four or eight leave most of a tile register empty.
constexpr std::int64_t kNarrow = 12, kRowsPerChunk = 2;

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

// Images side by side with one zero column between: [H, images * (W + 1), C].
struct Row {
  std::int64_t images, height, width, channels;
  std::int64_t wide() const { return images * (width + 1); }
  std::int64_t elements() const { return height * wide() * channels; }
};

template <class T>
void to_row(const Row& row, const T* images, T* to, std::int64_t line) {
  const std::int64_t y = line % row.height, n = line / row.height;
  T* at = to + (y * row.wide() + n * (row.width + 1)) * row.channels;
  std::copy_n(images + line * row.width * row.channels, row.width * row.channels, at);
  std::fill_n(at + row.width * row.channels, row.channels, T{});
}

template <class T>
void from_row(const Row& row, const T* from, T* images, std::int64_t line) {
  const std::int64_t y = line % row.height, n = line / row.height;
  std::copy_n(from + (y * row.wide() + n * (row.width + 1)) * row.channels,
              row.width * row.channels, images + line * row.width * row.channels);
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
  if (conv.tiles) return tiled_conv(conv, biases, x, epilogue, y);
  const bool wide = y.dtype != activation_;  // then the weights are fp32: prepare_conv
  const Casts casting = wide ? Casts{true, false} : casts(false);
  if (biases.size() == 1 && images > 1 && width <= kNarrow && !wide && !through_fp32() &&
      keeps_size(s)) {
    return conv_side_by_side(conv, biases[0], x, epilogue, y);
  }
  const auto images_per_bias = images / static_cast<std::int64_t>(biases.size());

  const std::vector<Band> bands = bands_of(s, height, y.shape, per_image);
  std::vector<const Plan*> plans;
  std::size_t work = 0;
  for (const Band& band : bands) {
    ConvShape shape{band.images,
                    band.in_rows,
                    width,
                    s,
                    wide ? DType::kF32 : compute_,
                    {!biases[0].empty(), epilogue.activation, static_cast<bool>(epilogue.residual),
                     epilogue.last}};
    shape.spec.pad_top = band.pad_top;
    shape.spec.pad_bottom = band.pad_bottom;
    plans.push_back(&onednn_.find(shape, conv.weights));
    work = std::max(work, plan_work(*plans.back(), band.images * band.in_rows * width * s.in,
                                    band.images * band.rows * y.shape[2] * s.out, casting));
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
                       static_cast<std::size_t>(to) * byte_size(y.dtype);
        }
        o.y = static_cast<std::byte*>(y.data) + static_cast<std::size_t>(to) * byte_size(y.dtype);
        run_plan(*plans[static_cast<std::size_t>(chunk)], o,
                 band.images * band.in_rows * width * s.in,
                 band.images * band.rows * y.shape[2] * s.out,
                 space + work * static_cast<std::size_t>(worker), casting);
      });
}

void CpuBackend::conv_side_by_side(const CpuConv& conv, const std::vector<float>& bias, ConstView x,
                                   const Epilogue& epilogue, View y) {
  const ConvSpec& s = conv.spec;
  const std::int64_t height = y.shape[1];
  const Row from{y.shape[0], height, y.shape[2], s.in}, to{y.shape[0], height, y.shape[2], s.out};
  const PostOps post{!bias.empty(), epilogue.activation, static_cast<bool>(epilogue.residual),
                     epilogue.last};
  std::vector<Band> bands;
  std::vector<const Plan*> plans;
  std::size_t scratch = 0;
  for (std::int64_t first = 0; first < height; first += kRowsPerChunk) {
    bands.push_back(band_of(s, height, 0, 1, first, std::min(kRowsPerChunk, height - first)));
    ConvShape shape{1, bands.back().in_rows, from.wide(), s, compute_, post};
    shape.spec.pad_top = bands.back().pad_top;
    shape.spec.pad_bottom = bands.back().pad_bottom;
    plans.push_back(&onednn_.find(shape, conv.weights));
    scratch = std::max(scratch, (plans.back()->scratch_bytes + 63) / 64 * 64);
  }
  with_type([&](auto tag) {
    using T = decltype(tag);
    const std::size_t from_bytes =
        (static_cast<std::size_t>(from.elements()) * sizeof(T) + 63) / 64 * 64;
    const std::size_t to_bytes =
        (static_cast<std::size_t>(to.elements()) * sizeof(T) + 63) / 64 * 64;
    std::byte* space =
        workspace_.at_least(from_bytes + to_bytes + scratch * static_cast<std::size_t>(threads_));
    auto* wide_x = reinterpret_cast<T*>(space);
    auto* wide_y = reinterpret_cast<T*>(space + from_bytes);
    parallel_for(threads_, from.images * height, [&](std::int64_t line, int) {
      to_row(from, x.as<T>(), wide_x, line);
      if (epilogue.residual) to_row(to, epilogue.residual.as<T>(), wide_y, line);
    });
    parallel_for(
        threads_, static_cast<std::int64_t>(bands.size()), [&](std::int64_t chunk, int worker) {
          const Band& band = bands[static_cast<std::size_t>(chunk)];
          T* result = wide_y + band.first * to.wide() * to.channels;
          onednn_.run(
              *plans[static_cast<std::size_t>(chunk)],
              {wide_x + band.in_first * from.wide() * from.channels, &conv.weights,
               bias.empty() ? nullptr : bias.data(), post.residual ? result : nullptr, result},
              space + from_bytes + to_bytes + scratch * static_cast<std::size_t>(worker));
        });
    parallel_for(threads_, to.images * height,
                 [&](std::int64_t line, int) { from_row(to, wide_y, y.as<T>(), line); });
  });
}

}  // namespace seamwright::model::cpu
