#include "tests/unit/cuda/fake_cuda.h"

#include <cmath>
#include <cstring>

#include "model/convert.h"

namespace seamwright::model::cuda::testing_support {
namespace {

float read(const void* data, DType type, std::int64_t i) {
  switch (type) {
    case DType::kBF16:
      return bf16_to_float(static_cast<const std::uint16_t*>(data)[i]);
    case DType::kF16:
      return half_to_float(static_cast<const std::uint16_t*>(data)[i]);
    default:
      return static_cast<const float*>(data)[i];
  }
}

void write(void* data, DType type, std::int64_t i, float value) {
  switch (type) {
    case DType::kBF16:
      static_cast<std::uint16_t*>(data)[i] = float_to_bf16(value);
      return;
    case DType::kF16:
      static_cast<std::uint16_t*>(data)[i] = float_to_half(value);
      return;
    default:
      static_cast<float*>(data)[i] = value;
  }
}

std::vector<float> floats(const void* data, DType type, std::int64_t count) {
  std::vector<float> all(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) all[static_cast<std::size_t>(i)] = read(data, type, i);
  return all;
}

}  // namespace

FakeCuda::~FakeCuda() {
  if (device_.empty()) return;
  fmt::print(stderr, "{} blocks of device memory outlived their backend\n", device_.size());
  std::abort();
}

void* FakeCuda::allocate_device(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  if (bytes > device_bytes_left) {
    fail(ErrorCode::kResource, "the device has {} bytes left, not {}", device_bytes_left, bytes);
  }
  void* data = heap().allocate(bytes);
  std::memset(data, 0xFF, bytes);
  device_.emplace(data, bytes);
  device_bytes_left -= bytes;
  return data;
}

void FakeCuda::free_device(void* data) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = device_.find(data);
  if (found == device_.end()) std::abort();
  device_bytes_left += found->second;
  heap().release(data, found->second);
  device_.erase(found);
}

std::byte* FakeCuda::allocate_pinned(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  auto* data = static_cast<std::byte*>(heap().allocate(bytes));
  pinned_.emplace(data, bytes);
  return data;
}

void FakeCuda::free_pinned(std::byte* data) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = pinned_.find(data);
  if (found == pinned_.end()) std::abort();
  for (const Copy& c : under_way_) {
    const bool inside = c.host >= data && c.host < data + found->second;
    if (inside && !c.arriving.empty() && !device_failed) std::abort();  // the device writes to it
  }
  heap().release(data, found->second);
  pinned_.erase(found);
}

Stream FakeCuda::make_thing() {
  const std::lock_guard lock(mutex_);
  owned_.push_back(std::make_unique<int>());
  things_.insert(owned_.back().get());
  return owned_.back().get();
}

Stream FakeCuda::create_stream() { return make_thing(); }
void FakeCuda::destroy_stream(Stream stream) noexcept {
  const std::lock_guard lock(mutex_);
  if (things_.erase(stream) != 1) std::abort();
}
Event FakeCuda::create_event() { return make_thing(); }
void FakeCuda::destroy_event(Event event) noexcept {
  const std::lock_guard lock(mutex_);
  if (things_.erase(event) != 1) std::abort();
}

void FakeCuda::forget_up_to(Stream stream, std::int64_t number) {
  if (device_failed) fail(ErrorCode::kResource, "the device failed");
  std::erase_if(under_way_, [&](const Copy& c) {
    if (c.stream != stream || c.number > number) return false;
    if (!c.arriving.empty()) {
      std::memcpy(const_cast<std::byte*>(c.host), c.arriving.data(), c.bytes);
    }
    return true;
  });
}

void FakeCuda::wait_for_stream(Stream stream) {
  const std::lock_guard lock(mutex_);
  ensure(things_.contains(stream), "waiting for a stream that is not there");
  forget_up_to(stream, number_);
}

void FakeCuda::record(Event event, Stream stream) {
  const std::lock_guard lock(mutex_);
  ensure(things_.contains(stream) && things_.contains(event), "recording what is not there");
  ensure(!capturing_, "an event of another stream's on one that is captured");
  recorded_[event] = {stream, number_};
}

void FakeCuda::make_wait(Stream stream, Event event) {
  const std::lock_guard lock(mutex_);
  ensure(things_.contains(stream) && recorded_.contains(event), "waiting for what never was");
}

void FakeCuda::wait_for_event(Event event) {
  const std::lock_guard lock(mutex_);
  const auto [stream, number] = recorded_.at(event);
  forget_up_to(stream, number);
}

bool FakeCuda::is_device(const void* data) const {
  const std::lock_guard lock(mutex_);
  const auto after = device_.upper_bound(const_cast<void*>(data));
  if (after == device_.begin()) return false;
  const auto& [begin, size] = *std::prev(after);
  return data < static_cast<const std::byte*>(begin) + size;
}

bool FakeCuda::is_pinned(const std::byte* host, std::size_t bytes) const {
  for (const auto& [data, size] : pinned_) {
    if (host >= data && host + bytes <= data + size) return true;
  }
  return false;
}

bool FakeCuda::may_be_read(const std::byte* pinned) const {
  const std::lock_guard lock(mutex_);
  for (const Copy& c : under_way_) {
    if (pinned >= c.host && pinned < c.host + c.bytes) return true;
  }
  return false;
}

void FakeCuda::to_device(const std::byte* host, void* device, std::size_t bytes, Stream stream) {
  const std::lock_guard lock(mutex_);
  ensure(is_pinned(host, bytes), "a copy from memory that is not pinned");
  ensure(!capturing_, "a copy from the host in a captured sequence");
  under_way_.push_back({host, bytes, stream, ++number_, {}});
  std::memcpy(device, host, bytes);
}

// Arrives no earlier than somebody waits for it; whoever reads before finds something else.
void FakeCuda::to_host(const void* device, std::byte* host, std::size_t bytes, Stream stream) {
  const std::lock_guard lock(mutex_);
  ensure(is_pinned(host, bytes), "a copy to memory that is not pinned");
  ensure(!capturing_, "a copy to the host in a captured sequence");
  for (const Copy& c : under_way_) {
    ensure(host >= c.host + c.bytes || host + bytes <= c.host,
           "a copy to memory that another one still uses");
  }
  const auto* from = static_cast<const std::byte*>(device);
  under_way_.push_back({host, bytes, stream, ++number_, {from, from + bytes}});
  std::memset(host, 0xEE, bytes);
}

void FakeCuda::on_device(const void* from, void* to, std::size_t bytes, Stream) {
  emulated::run_or_record([=] { std::memcpy(to, from, bytes); });
}

void FakeCuda::begin_capture(Stream) {
  ensure(!capturing_, "a stream is captured already");
  capturing_ = std::make_unique<emulated::Recording>();
  emulated::record_to(capturing_.get());
}

Graph FakeCuda::end_capture(Stream) {
  ensure(capturing_ != nullptr, "no stream is captured");
  emulated::record_to(nullptr);
  if (!captures) {
    capturing_.reset();
    fail(ErrorCode::kResource, "the capture was invalidated");
  }
  ++graphs_;
  return capturing_.release();
}

void FakeCuda::abandon_capture(Stream) noexcept {
  emulated::record_to(nullptr);
  capturing_.reset();
}

void FakeCuda::launch(Graph graph, Stream) {
  ++launches_;
  for (const auto& work : *static_cast<emulated::Recording*>(graph)) work();
}

void FakeCuda::destroy_graph(Graph graph) noexcept {
  --graphs_;
  delete static_cast<emulated::Recording*>(graph);
}

void FakeCuda::plan_ahead(bool on) {
  rehearsed_ = rehearsed_ || (planning_ahead_ && !on);
  planning_ahead_ = on;
}

void FakeCuda::see(const std::string& shape) {
  if (seen_.insert(shape).second && rehearsed_) unrehearsed_.push_back(shape);
}

void FakeCuda::multiply(const Product& p, const ProductOperands& o, Stream) {
  see(fmt::format("product {} x {} -> {}, batch {}, {} {} {}", p.rows, p.in, p.out, p.batch,
                  to_string(p.type), p.bias, p.residual));
  emulated::run_or_record([this, p, o] { multiply_now(p, o); });
}

void FakeCuda::multiply_now(const Product& p, const ProductOperands& o) {
  ++products_;
  ensure(p.bias == (o.bias != nullptr) && p.residual == (o.residual != nullptr),
         "a product's operands do not fit it");
  ensure(!p.relu || p.bias, "relu comes with a bias only");
  for (std::int64_t b = 0; b < p.batch; ++b) {
    for (std::int64_t r = 0; r < p.rows; ++r) {
      std::vector<float> x(static_cast<std::size_t>(p.in));
      for (std::int64_t i = 0; i < p.in; ++i) {
        x[static_cast<std::size_t>(i)] = read(o.x, p.type, b * p.x_batch + r * p.x_stride + i);
      }
      for (std::int64_t c = 0; c < p.out; ++c) {
        float sum = 0;
        for (std::int64_t i = 0; i < p.in; ++i) {
          const std::int64_t at = p.w_transposed ? i * p.w_stride + c : c * p.w_stride + i;
          sum += x[static_cast<std::size_t>(i)] * read(o.w, p.type, b * p.w_batch + at);
        }
        sum *= p.scale;
        const std::int64_t at = b * p.y_batch + r * p.y_stride + c;
        if (p.residual) sum += read(o.residual, p.type, at);
        if (p.bias) sum += read(o.bias, p.type, c);
        if (p.relu) sum = std::max(sum, 0.0F);
        write(o.y, p.result_type, at, sum);
      }
    }
  }
}

bool FakeCuda::can_convolve(const Convolution& c) {
  ensure(c.type == DType::kF32 || (c.in % 8 == 0 && c.out % 8 == 0),
         "channels of 16-bit convolutions must be padded to eights");
  see(fmt::format("convolution {} x {} x {} x {} -> {}, kernel {}, stride {}", c.n, c.h, c.w, c.in,
                  c.out, c.kernel, c.stride));
  return convolves;
}

void FakeCuda::convolve(const Convolution& c, const void* x, const void* w, void* y, Stream) {
  emulated::run_or_record([this, c, x, w, y] { convolve_now(c, x, w, y); });
}

void FakeCuda::convolve_now(const Convolution& c, const void* x, const void* w, void* y) {
  ++convolutions_;
  ensure(convolves, "a convolution without an engine");
  const auto xs = floats(x, c.type, c.n * c.h * c.w * c.in);
  const auto ws = floats(w, c.type, c.out * c.kernel * c.kernel * c.in);
  std::int64_t at = 0;
  for (std::int64_t n = 0; n < c.n; ++n) {
    for (std::int64_t i = 0; i < c.oh; ++i) {
      for (std::int64_t j = 0; j < c.ow; ++j) {
        for (std::int64_t o = 0; o < c.out; ++o) {
          float sum = 0;
          for (int t = 0; t < c.kernel * c.kernel; ++t) {
            const std::int64_t r = i * c.stride - c.pad_top + t / c.kernel;
            const std::int64_t s = j * c.stride - c.pad_left + t % c.kernel;
            if (r < 0 || r >= c.h || s < 0 || s >= c.w) continue;
            const float* a = xs.data() + ((n * c.h + r) * c.w + s) * c.in;
            const float* b = ws.data() + (o * c.kernel * c.kernel + t) * c.in;
            for (std::int64_t k = 0; k < c.in; ++k) sum += a[k] * b[k];
          }
          write(y, c.result_type, at++, sum);
        }
      }
    }
  }
}

bool FakeCuda::can_attend(const Attention& a) {
  see(fmt::format("attention {} x {} x {}, {} heads of {}, shared {}", a.n, a.queries, a.keys,
                  a.heads, a.head_size, a.shared_keys));
  return attends && !planning_ahead_ && a.type != DType::kF32 && a.head_size % 8 == 0;
}

void FakeCuda::attend(const Attention& a, const AttentionOperands& o, Stream) {
  emulated::run_or_record([this, a, o] { attend_now(a, o); });
}

void FakeCuda::attend_now(const Attention& a, const AttentionOperands& o) {
  ++attentions_;
  ensure(can_attend(a), "attention without an engine");
  const std::int64_t d = a.head_size, width = a.heads * d;
  const auto read = [&](const void* x, std::int64_t rows) {
    return floats(x, a.type, (rows - 1) * a.row + width);
  };
  const std::int64_t entries = a.shared_keys ? 1 : a.n;
  const auto q = read(o.q, a.n * a.queries);
  const auto k = read(o.k, entries * a.keys), v = read(o.v, entries * a.keys);
  for (std::int64_t row = 0; row < a.n * a.queries * a.heads; ++row) {
    const std::int64_t query = row / a.heads, head = row % a.heads;
    const float* x = q.data() + query * a.row + head * d;
    const std::int64_t entry = a.shared_keys ? 0 : query / a.queries;
    const std::int64_t keys_from = entry * a.keys * a.row + head * d;
    std::vector<float> weight(static_cast<std::size_t>(a.keys));
    float top = -INFINITY, sum = 0;
    for (std::int64_t t = 0; t < a.keys; ++t) {
      float dot = 0;
      for (std::int64_t i = 0; i < d; ++i)
        dot += x[i] * k[static_cast<std::size_t>(keys_from + t * a.row + i)];
      weight[static_cast<std::size_t>(t)] = dot / std::sqrt(static_cast<float>(d));
      top = std::max(top, weight[static_cast<std::size_t>(t)]);
    }
    for (float& w : weight) sum += w = std::exp(w - top);
    for (std::int64_t i = 0; i < d; ++i) {
      float mixed = 0;
      for (std::int64_t t = 0; t < a.keys; ++t) {
        mixed += weight[static_cast<std::size_t>(t)] *
                 v[static_cast<std::size_t>(keys_from + t * a.row + i)];
      }
      write(o.y, a.type, query * width + head * d + i, mixed / sum);
    }
  }
}

}  // namespace seamwright::model::cuda::testing_support
