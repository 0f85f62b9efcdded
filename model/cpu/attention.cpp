// Attention over tokens and over frames: one task per head and run of queries.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "model/cpu/backend.h"
#include "model/cpu/parallel.h"
#include "model/cpu/tiles/tile_kernels.h"

namespace seamwright::model::cpu {
namespace {

// Queries per task: each task lays out its head's keys and values anew.
constexpr std::int64_t kQueriesPerTask = 1024, kPositionsPerTask = 16;

// Positions that are attended together, in copies of their rows: frames lie a power of two apart or
// nearly, so rows in place would displace one another from every cache.
struct PositionRun {
  std::int64_t frames, positions, width;  // of the tensors
  std::int64_t together;
  PositionRun(std::int64_t f, std::int64_t p, std::int64_t w)
      : frames(f), positions(p), width(w), together(std::max<std::int64_t>(1, 1280 / w)) {}
  std::int64_t stride() const { return together * width + 32; }  // of a frame's copy, in elements
  std::int64_t elements() const { return frames * stride(); }

  template <class T>
  void copy_in(const T* from, std::int64_t first, std::int64_t count, T* to) const {
    for (std::int64_t f = 0; f < frames; ++f) {
      std::memcpy(to + f * stride(), from + (f * positions + first) * width,
                  static_cast<std::size_t>(count * width) * sizeof(T));
    }
  }
  template <class T>
  void copy_out(const T* from, std::int64_t first, std::int64_t count, T* to) const {
    for (std::int64_t f = 0; f < frames; ++f) {
      std::memcpy(to + (f * positions + first) * width, from + f * stride(),
                  static_cast<std::size_t>(count * width) * sizeof(T));
    }
  }
};

// All tasks of a run of positions, head by head.
template <class T, class Attend>
void attend_positions(const PositionRun& run, std::int64_t head, ConstView q, ConstView k,
                      ConstView v, View y, std::int64_t begin, std::int64_t end, T* copies,
                      float* work, const Attend& attend) {
  T* const copy[4] = {copies, copies + run.elements(), copies + 2 * run.elements(),
                      copies + 3 * run.elements()};
  AttentionTask<T> task;
  task.q_stride = task.k_stride = task.v_stride = task.y_stride = run.stride();
  task.queries = task.keys = run.frames;
  task.head = head;
  task.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(head)));
  task.work = work;
  for (std::int64_t first = begin; first < end; first += run.together) {
    const std::int64_t count = std::min(run.together, end - first);
    run.copy_in(q.as<T>(), first, count, copy[0]);
    run.copy_in(k.as<T>(), first, count, copy[1]);
    run.copy_in(v.as<T>(), first, count, copy[2]);
    for (std::int64_t at = 0; at < count * run.width; at += head) {
      task.q = copy[0] + at;
      task.k = copy[1] + at;
      task.v = copy[2] + at;
      task.y = copy[3] + at;
      attend(task);
    }
    run.copy_out(copy[3], first, count, y.as<T>());
  }
}

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
  const PositionRun run(frames, positions, width);
  const bool tiles = on_tiles(32, head);
  const auto work_floats = static_cast<std::size_t>(tiles ? attention_tiles_work(head, frames)
                                                          : kernels_.attention_work(head, frames));
  const std::size_t work =
      work_floats * sizeof(float) +
      static_cast<std::size_t>(ceil_div(4 * run.elements(), 32) * 32) * byte_size(activation_);
  std::byte* space = workspace_.at_least(work * static_cast<std::size_t>(threads_));
  with_type([&](auto tag) {
    using T = decltype(tag);
    parallel_runs(threads_, positions, kPositionsPerTask,
                  [&](std::int64_t begin, std::int64_t end, int worker) {
                    std::byte* mine = space + work * static_cast<std::size_t>(worker);
                    auto* floats = reinterpret_cast<float*>(mine);
                    auto* copies = reinterpret_cast<T*>(mine + work_floats * sizeof(float));
                    const auto attend = [&](const auto& kernel) {
                      attend_positions(run, head, q, k, v, y, begin, end, copies, floats, kernel);
                    };
                    if constexpr (std::is_same_v<T, Bf16>) {
                      if (tiles) {
                        const TileSession session;
                        return attend(attend_tiles);
                      }
                    }
                    attend(kernels_.typed<T>().attend);
                  });
  });
}

}  // namespace seamwright::model::cpu
