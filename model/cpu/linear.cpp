// Linear layers and GEGLU: blocks of rows, each one matrix product on one thread.
#include <algorithm>

#include "model/cpu/backend.h"
#include "model/cpu/parallel.h"

namespace seamwright::model::cpu {
namespace {

// Rows of one product: enough to reuse the weights, few enough for eight chunks. A function of the
// shape alone.
std::int64_t rows_per_chunk(std::int64_t rows) {
  return std::clamp(ceil_div(ceil_div(rows, 8), 16) * 16, std::int64_t{32}, std::int64_t{256});
}

}  // namespace

std::vector<float> CpuBackend::shifted_bias(const std::vector<float>& bias, ConstView row) const {
  if (!row) return bias;
  std::vector<float> sum(static_cast<std::size_t>(row.elements()));
  with_type([&](auto tag) {
    using T = decltype(tag);
    kernels_.typed<T>().widen(row.as<T>(), sum.data(), row.elements());
  });
  if (!bias.empty()) kernels_.f32.add(sum.data(), bias.data(), sum.data(), row.elements());
  return sum;
}

void CpuBackend::linear(const PreparedLinear& prepared, ConstView x, const Epilogue& epilogue,
                        View y, Allocator&) {
  const auto& linear = as<CpuLinear>(prepared);
  const std::int64_t rows = linear.in == 0 ? 0 : x.elements() / linear.in;
  const ConstView& per_channel = epilogue.per_channel;
  const std::int64_t runs = per_channel && per_channel.shape.rank() == 2 ? per_channel.shape[0] : 1;
  if (rows == 0) return;
  std::vector<std::vector<float>> biases;
  for (std::int64_t r = 0; r < runs; ++r) {
    const ConstView row =
        !per_channel || per_channel.shape.rank() == 1 ? per_channel : per_channel.slice(r, 1);
    biases.push_back(shifted_bias(linear.bias, row));
  }
  if (linear.tiles) return tiled_linear(linear, biases, x, epilogue, y);
  if (linear.panels) return panel_linear(linear, biases, x, epilogue, y);
  const std::int64_t run = rows / runs, step = rows_per_chunk(run), per_run = ceil_div(run, step);
  const PostOps post{!biases[0].empty(), epilogue.activation, static_cast<bool>(epilogue.residual),
                     epilogue.last};
  const std::int64_t tail = run - (per_run - 1) * step;
  const bool wide = y.dtype != activation_;
  const Casts casting = casts(wide);
  const auto plan_for = [&](std::int64_t count) -> const Plan& {
    const DType result = wide ? DType::kF32 : compute_;
    return onednn_.find(GemmShape{count, linear.in, linear.out, compute_, result, post},
                        linear.weights);
  };
  const Plan& whole = plan_for(step < run ? step : run);
  const Plan& last = plan_for(tail);
  const std::size_t work = std::max(plan_work(whole, step * linear.in, step * linear.out, casting),
                                    plan_work(last, step * linear.in, step * linear.out, casting));
  std::byte* space = workspace_.at_least(work * static_cast<std::size_t>(threads_));
  parallel_for(threads_, runs * per_run, [&](std::int64_t chunk, int worker) {
    const bool at_end = chunk % per_run == per_run - 1;
    const std::int64_t first = chunk / per_run * run + chunk % per_run * step;
    const std::int64_t count = at_end ? tail : step;
    const auto at = [&](ConstView base, std::int64_t width) {
      return static_cast<const std::byte*>(base.data) +
             static_cast<std::size_t>(first * width) * byte_size(base.dtype);
    };
    Operands o;
    o.x = at(x, linear.in);
    o.weights = &linear.weights;
    const auto& bias = biases[static_cast<std::size_t>(chunk / per_run)];
    o.bias = bias.empty() ? nullptr : bias.data();
    if (post.residual) o.residual = at(epilogue.residual, linear.out);
    o.y = static_cast<std::byte*>(y.data) +
          static_cast<std::size_t>(first * linear.out) * byte_size(y.dtype);
    run_plan(at_end ? last : whole, o, count * linear.in, count * linear.out,
             space + work * static_cast<std::size_t>(worker), casting);
  });
}

void CpuBackend::geglu(const PreparedLinear& prepared, ConstView x, View y, Allocator&) {
  const auto& geglu = as<CpuGeglu>(prepared);
  const std::int64_t rows = geglu.in == 0 ? 0 : x.elements() / geglu.in;
  if (rows == 0) return;
  if (geglu.tiles) return tiled_geglu(geglu, x, y);
  if (geglu.panels) return panel_geglu(geglu, x, y);
  const std::int64_t step = rows_per_chunk(rows), chunks = ceil_div(rows, step);
  const std::int64_t widest = geglu.blocks[0].width;
  // Plans by (row block whole or last, column block): at most four differ.
  std::vector<const Plan*> plans;
  std::size_t scratch = 0;
  for (const auto& block : geglu.blocks) {
    for (std::int64_t count : {std::min(step, rows), rows - (chunks - 1) * step}) {
      const GemmShape shape{count,    geglu.in,    2 * block.width,
                            compute_, DType::kF32, {!block.bias.empty(), {}, false, {}}};
      plans.push_back(&onednn_.find(shape, block.weights));
      scratch = std::max(scratch, (plans.back()->scratch_bytes + 63) / 64 * 64);
    }
  }
  const auto pair_bytes = static_cast<std::size_t>(step * 2 * widest) * sizeof(float);
  const std::size_t x_bytes =
      through_fp32() ? static_cast<std::size_t>(step * geglu.in) * sizeof(float) : 0;
  const std::size_t work = scratch + (pair_bytes + x_bytes + 63) / 64 * 64;
  std::byte* space = workspace_.at_least(work * static_cast<std::size_t>(threads_));
  parallel_for(threads_, chunks, [&](std::int64_t chunk, int worker) {
    std::byte* mine = space + work * static_cast<std::size_t>(worker);
    auto* pair = reinterpret_cast<float*>(mine + scratch);
    const std::int64_t first = chunk * step, count = std::min(step, rows - first);
    with_type([&](auto tag) {
      using T = decltype(tag);
      const void* input = x.as<T>() + first * geglu.in;
      if (through_fp32()) {
        auto* wide = reinterpret_cast<float*>(mine + scratch + pair_bytes);
        kernels_.typed<T>().widen(x.as<T>() + first * geglu.in, wide, count * geglu.in);
        input = wide;
      }
      for (std::size_t b = 0; b < geglu.blocks.size(); ++b) {
        const auto& block = geglu.blocks[b];
        const Plan& plan = *plans[2 * b + (chunk == chunks - 1 ? 1 : 0)];
        const float* bias = block.bias.empty() ? nullptr : block.bias.data();
        onednn_.run(plan, {input, &block.weights, bias, nullptr, pair}, mine);
        kernels_.typed<T>().geglu(pair, count, block.width,
                                  y.as<T>() + first * geglu.out + block.begin, geglu.out);
      }
    });
  });
}

}  // namespace seamwright::model::cpu
