// Attention: large ones by cuDNN, else in tiles on the tensor cores where they take the head size,
// else row blocks of scores between two products.
#include <algorithm>
#include <cmath>
#include <utility>

#include "model/cuda/backend.h"

namespace seamwright::model::cuda {
namespace {

// Scores held at a time, in elements.
constexpr std::int64_t kScores = std::int64_t{16} << 20;
// From so many multiply-adds of its scores cuDNN's attention is worth compiling, which takes most
// of a second. With wider heads (a VAE's) products are faster, with narrow ones and few keys (a
// prompt's) our own kernel is.
constexpr std::int64_t kLargeAttention = std::int64_t{384} << 20;
constexpr std::int64_t kWidestHead = 256, kNarrowHead = 64, kFewKeys = 128;

bool suits_dnn(const Attention& a) {
  if (a.head_size > kWidestHead || (a.head_size < kNarrowHead && a.keys < kFewKeys)) return false;
  return a.n * a.heads * a.queries * a.keys * a.head_size >= kLargeAttention;
}

// Where queries, keys and values that lie side by side begin.
struct Joined {
  explicit Joined(ConstView qkv) {
    const auto* begin = qkv.as<std::byte>();
    const auto third = static_cast<std::int64_t>(byte_size(qkv.dtype)) * (qkv.shape.last() / 3);
    q = begin;
    k = begin + third;
    v = begin + 2 * third;
  }
  const void *q, *k, *v;
};

}  // namespace

void CudaBackend::attend_by_rows(const AttentionCall& call, bool causal, Allocator& scratch) {
  const std::int64_t c = static_cast<std::int64_t>(call.heads) * call.head_size;
  const auto size = static_cast<std::int64_t>(byte_size(options_.activation));
  const std::int64_t part =
      std::clamp<std::int64_t>(kScores / (call.keys * call.heads), 1, call.queries);
  const Shape block{call.heads, part, call.keys};
  Tensor scores(scratch, DType::kF32, block), weights(scratch, options_.activation, block);
  const auto at = [size](const void* data, std::int64_t element) {
    return static_cast<const std::byte*>(data) + element * size;
  };
  for (std::int64_t n = 0; n < call.n; ++n) {
    const std::int64_t keys_at = call.shared_keys ? 0 : n * call.keys * call.row;
    for (std::int64_t first = 0; first < call.queries; first += part) {
      const std::int64_t rows = std::min(part, call.queries - first);
      const std::int64_t row = n * call.queries + first;
      Product p;
      p.rows = rows;
      p.in = call.head_size;
      p.out = call.keys;
      p.x_stride = p.w_stride = call.row;
      p.y_stride = call.keys;
      p.batch = call.heads;
      p.x_batch = p.w_batch = call.head_size;
      p.y_batch = rows * call.keys;
      p.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(call.head_size)));
      p.type = options_.activation;
      p.result_type = DType::kF32;
      calls_->multiply(
          p,
          {at(call.q, row * call.row), at(call.k, keys_at), nullptr, nullptr, scores.view().data},
          stream_);
      softmax(element(),
              {scores.view().as<float>(), weights.view().data, call.heads * rows, call.keys, rows,
               first, causal},
              stream_);
      Product mix;
      mix.rows = rows;
      mix.in = call.keys;
      mix.out = call.head_size;
      mix.x_stride = call.keys;
      mix.w_stride = call.row;
      mix.y_stride = c;
      mix.w_transposed = true;
      mix.batch = call.heads;
      mix.x_batch = rows * call.keys;
      mix.w_batch = mix.y_batch = call.head_size;
      mix.type = mix.result_type = options_.activation;
      calls_->multiply(mix,
                       {weights.view().data, at(call.v, keys_at), nullptr, nullptr,
                        static_cast<std::byte*>(call.y) + row * c * size},
                       stream_);
    }
  }
}

void CudaBackend::attention(int heads, bool causal, ConstView q, ConstView k, ConstView v, View y,
                            Allocator& scratch) {
  calls_->bind_thread();
  if (y.elements() == 0) return;
  const AttentionCall call{q.data,     k.data,         v.data,
                           y.data,     q.shape[0],     q.shape[1],
                           k.shape[1], heads,          static_cast<int>(q.shape[2] / heads),
                           q.shape[2], k.shape[0] == 1};
  if (causal) return attend_by_rows(call, causal, scratch);
  attend(call, scratch);
}

void CudaBackend::self_attention(int heads, ConstView qkv, View y, Allocator& scratch) {
  calls_->bind_thread();
  if (y.elements() == 0) return;
  const Joined joined(qkv);
  attend({joined.q, joined.k, joined.v, y.data, y.shape[0], y.shape[1], y.shape[1], heads,
          static_cast<int>(y.shape[2] / heads), qkv.shape[2], false},
         scratch);
}

void CudaBackend::attend(AttentionCall call, Allocator& scratch) {
  const Attention whole{call.n,         call.queries, call.keys,           call.heads,
                        call.head_size, call.row,     options_.activation, call.shared_keys};
  if ((suits_dnn(whole) || options_.compile_small) && options_.dnn == CudaDnn::kAuto &&
      calls_->can_attend(whole)) {
    return calls_->attend(whole, {call.q, call.k, call.v, call.y}, stream_);
  }
  if (call.shared_keys) {  // every query sees the same keys: one entry of more queries
    call.queries *= std::exchange(call.n, 1);
  }
  if (can_attend_in_tiles(element(), call)) return attend_in_tiles(element(), call, stream_);
  attend_by_rows(call, false, scratch);
}

void CudaBackend::temporal_attention(int heads, ConstView q, ConstView k, ConstView v, View y,
                                     Allocator&) {
  calls_->bind_thread();
  if (y.elements() == 0) return;
  attend_over_frames(element(),
                     {q.data, k.data, v.data, y.data, static_cast<int>(q.shape[0]), heads,
                      static_cast<int>(q.shape[2] / heads), q.shape[1], q.shape[2]},
                     stream_);
}

void CudaBackend::temporal_self_attention(int heads, ConstView qkv, View y, Allocator&) {
  calls_->bind_thread();
  if (y.elements() == 0) return;
  const Joined joined(qkv);
  attend_over_frames(element(),
                     {joined.q, joined.k, joined.v, y.data, static_cast<int>(y.shape[0]), heads,
                      static_cast<int>(y.shape[2] / heads), y.shape[1], qkv.shape[2]},
                     stream_);
}

}  // namespace seamwright::model::cuda
