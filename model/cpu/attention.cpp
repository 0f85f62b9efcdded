// Attention over tokens and over frames: one task per head and run of queries.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "model/cpu/backend.h"
#include "model/cpu/parallel.h"
#include "model/cpu/tiles/tile_kernels.h"

namespace seamwright::model::cpu {
namespace {

// Queries per task: each task lays out its head's keys and values anew.
constexpr std::int64_t kQueriesPerTask = 1024, kPositionsPerTask = 16;

}  // namespace

void CpuBackend::attention(int heads, bool causal, ConstView q, ConstView k, ConstView v, View y,
                           Allocator&) {
  const std::int64_t batch = q.shape[0], queries = q.shape[1], width = q.shape[2];
  const std::int64_t keys = k.shape[1], head = width / heads;
  if (q.elements() == 0) return;
  // Few tasks are cut finer, down to a tile of queries; a function of the shape alone.
  const std::int64_t fair = ceil_div(ceil_div(batch * heads * queries, 16), 32) * 32;
  const std::int64_t step = std::min(kQueriesPerTask, fair);
  const std::int64_t runs = ceil_div(queries, step);
  const bool tiles = on_tiles(32, head) && !causal;
  const std::int64_t work =
      tiles ? attention_tiles_work(head, keys) : kernels_.attention_work(head, keys);
  auto* space = reinterpret_cast<float*>(
      workspace_.at_least(static_cast<std::size_t>(work * threads_) * sizeof(float)));
  with_type([&](auto tag) {
    using T = decltype(tag);
    parallel_for(threads_, batch * heads * runs, [&](std::int64_t chunk, int worker) {
      const std::int64_t n = chunk / runs / heads, h = chunk / runs % heads;
      const std::int64_t first = chunk % runs * step, kn = k.shape[0] == 1 ? 0 : n;
      AttentionTask<T> task;
      task.q = q.as<T>() + (n * queries + first) * width + h * head;
      task.k = k.as<T>() + kn * keys * width + h * head;
      task.v = v.as<T>() + kn * keys * width + h * head;
      task.y = y.as<T>() + (n * queries + first) * width + h * head;
      task.q_stride = task.k_stride = task.v_stride = task.y_stride = width;
      task.queries = std::min(step, queries - first);
      task.keys = keys;
      task.head = head;
      task.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(head)));
      task.causal_first = causal ? first : -1;
      task.work = space + work * worker;
      if constexpr (std::is_same_v<T, Bf16>) {
        if (tiles) {
          const TileSession session;
          return attend_tiles(task);
        }
      }
      kernels_.typed<T>().attend(task);
    });
  });
}

void CpuBackend::temporal_attention(int heads, ConstView q, ConstView k, ConstView v, View y,
                                    Allocator&) {
  const std::int64_t frames = q.shape[0], positions = q.shape[1], width = q.shape[2];
  const std::int64_t head = width / heads;
  if (q.elements() == 0) return;
  const std::int64_t work = kernels_.attention_work(head, frames);
  auto* space = reinterpret_cast<float*>(
      workspace_.at_least(static_cast<std::size_t>(work * threads_) * sizeof(float)));
  with_type([&](auto tag) {
    using T = decltype(tag);
    parallel_runs(threads_, positions, kPositionsPerTask,
                  [&](std::int64_t begin, std::int64_t end, int worker) {
                    AttentionTask<T> task;
                    task.q_stride = task.k_stride = task.v_stride = task.y_stride =
                        positions * width;
                    task.queries = task.keys = frames;
                    task.head = head;
                    task.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(head)));
                    task.work = space + work * worker;
                    for (std::int64_t at = begin * width; at < end * width; at += head) {
                      task.q = q.as<T>() + at;
                      task.k = k.as<T>() + at;
                      task.v = v.as<T>() + at;
                      task.y = y.as<T>() + at;
                      kernels_.typed<T>().attend(task);
                    }
                  });
  });
}

}  // namespace seamwright::model::cpu
