#include "worker/wire_data.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace seamwright::worker {

using scheduling::DataKind;

namespace {

class Writer {
 public:
  explicit Writer(std::span<std::byte> out) : out_(out) {}
  void add(std::span<const std::byte> bytes) {
    ensure(at_ + bytes.size() <= out_.size(), "a message holds more than its {} planned bytes",
           out_.size());
    if (bytes.empty()) return;
    std::memcpy(out_.data() + at_, bytes.data(), bytes.size());
    at_ += bytes.size();
  }
  std::span<std::byte> reserve(std::size_t size) {
    ensure(at_ + size <= out_.size(), "a message holds more than its {} planned bytes",
           out_.size());
    const auto part = out_.subspan(at_, size);
    at_ += size;
    return part;
  }
  void finish() const {
    ensure(at_ == out_.size(), "a message holds {} bytes, but {} were planned", at_, out_.size());
  }

 private:
  std::span<std::byte> out_;
  std::size_t at_ = 0;
};

bool partial(const scheduling::Message& m, DataKind kind) {
  return !m.positions.empty() && (kind == DataKind::kPrediction || kind == DataKind::kClean);
}

bool consecutive(const std::vector<int>& positions) {
  return std::ranges::adjacent_find(positions, [](int a, int b) { return b != a + 1; }) ==
         positions.end();
}

comm::ConstBuffer view_of(const scheduling::Message& m, std::shared_ptr<const Datum> datum,
                          const WireContext& context) {
  const auto kind = m.data.front().id.kind;
  datum->wait_for_pixels();
  std::span<const std::byte> bytes = std::as_bytes(std::span(datum->values));
  if (kind == DataKind::kPixels && !context.plain) bytes = std::as_bytes(std::span(datum->pixels));
  if (partial(m, kind)) {
    const auto first = datum->row(m.positions.front(), context.frame_size);
    const auto last = datum->row(m.positions.back(), context.frame_size);
    bytes = std::as_bytes(std::span(first.data(), last.data() + last.size()));
  }
  ensure(bytes.size() == static_cast<std::size_t>(m.bytes),
         "a message holds {} bytes, but {} were planned", bytes.size(), m.bytes);
  return {std::move(datum), bytes};
}

model::ConstView checked_activation(const Datum& datum, const CutTensor& tensor) {
  const auto view = datum.activations.get(tensor.name);
  ensure(view.dtype == tensor.dtype && view.shape == tensor.shape,
         "activation '{}' is {} {}, but the cut was planned with {}", tensor.name,
         model::to_string(view.dtype), view.shape.to_string(), tensor.shape.to_string());
  return view;
}

void pack_activations(const Datum& datum, const CutLayout& cut, const WireContext& context,
                      Writer& writer) {
  for (const auto& tensor : cut) {
    const auto view = checked_activation(datum, tensor);
    context.backend->copy_out(view, writer.reserve(view.bytes()));
  }
}

}  // namespace

bool in_one_piece(const scheduling::Message& m, const WireContext& context) {
  if (m.data.size() != 1) return false;
  const auto kind = m.data.front().id.kind;
  // Emulated ones as well, which could be: a real cut is several tensors.
  if (kind == DataKind::kActivation) return false;
  if (kind == DataKind::kPixels && !context.plain) return !context.carries_latents;
  return !partial(m, kind) || consecutive(m.positions);
}

comm::ConstBuffer pack(const scheduling::Message& m, const DataStore& store,
                       const WireContext& context) {
  if (in_one_piece(m, context)) return view_of(m, store.get(m.data.front().id), context);
  auto buffer = comm::allocate_buffer(static_cast<std::size_t>(m.bytes));
  Writer writer(buffer.bytes);
  for (const auto& ref : m.data) {
    const auto datum = store.get(ref.id);
    switch (context.plain ? DataKind::kState : ref.id.kind) {
      case DataKind::kActivation:
        pack_activations(*datum, context.cuts.at(static_cast<std::size_t>(ref.id.visit)), context,
                         writer);
        break;
      case DataKind::kPixels:
        datum->wait_for_pixels();
        writer.add(std::as_bytes(std::span(datum->pixels)));
        writer.add(std::as_bytes(std::span(datum->values)));
        break;
      default:
        if (partial(m, ref.id.kind)) {
          for (int p : m.positions) writer.add(std::as_bytes(datum->row(p, context.frame_size)));
        } else {
          writer.add(std::as_bytes(std::span(datum->values)));
        }
    }
  }
  writer.finish();
  return buffer;
}

Landing make_room(const scheduling::Message& m, const WireContext& context, DatumPool& pool) {
  const auto size = static_cast<std::size_t>(m.bytes);
  if (!in_one_piece(m, context)) return {comm::allocate_buffer(size), nullptr};
  const auto& ref = m.data.front();
  if (ref.id.kind == DataKind::kPixels && !context.plain) {
    auto datum = std::make_shared<Datum>();
    datum->pixels.resize(size);
    return {{datum, std::as_writable_bytes(std::span(datum->pixels))}, datum};
  }
  auto datum = pool.take(size / sizeof(float));
  if (partial(m, ref.id.kind)) datum->positions = m.positions;
  return {{datum, std::as_writable_bytes(std::span(datum->values))}, datum};
}

std::vector<std::shared_ptr<Datum>> unpack(const scheduling::Message& m, const Landing& landing,
                                           const WireContext& context, DatumPool& pool) {
  if (landing.datum) return {landing.datum};
  const std::span<const std::byte> bytes = landing.buffer.bytes;
  std::vector<std::shared_ptr<Datum>> data;
  std::size_t at = 0;
  for (const auto& ref : m.data) {
    const auto size = static_cast<std::size_t>(ref.bytes);
    const bool numbers =
        context.plain || (ref.id.kind != DataKind::kActivation && ref.id.kind != DataKind::kPixels);
    auto datum = numbers ? pool.take(size / sizeof(float)) : std::make_shared<Datum>();
    ensure(at + size <= bytes.size(), "a message is shorter than its data");
    const auto part = bytes.subspan(at, size);
    at += size;
    if (numbers) {
      if (size > 0) std::memcpy(datum->values.data(), part.data(), size);
      if (partial(m, ref.id.kind)) datum->positions = m.positions;
    } else if (ref.id.kind == DataKind::kActivation) {
      std::size_t inside = 0;
      for (const auto& tensor : context.cuts.at(static_cast<std::size_t>(ref.id.visit))) {
        model::Tensor copy(context.backend->memory(), tensor.dtype, tensor.shape);
        const auto count = copy.view().bytes();
        context.backend->copy_in(part.subspan(inside, count), copy);
        inside += count;
        datum->activations.put(tensor.name, std::move(copy));
      }
    } else {
      // [count] pictures, then [count] latents or nothing.
      const auto with_latent = context.picture_bytes + context.frame_size * sizeof(float);
      const bool carries = context.carries_latents;
      const auto count = size / (carries ? with_latent : context.picture_bytes);
      const auto* raw = reinterpret_cast<const std::uint8_t*>(part.data());
      datum->pixels.assign(raw, raw + count * context.picture_bytes);
      if (carries) {
        datum->values.resize(count * context.frame_size);
        std::memcpy(datum->values.data(), raw + datum->pixels.size(),
                    datum->values.size() * sizeof(float));
      }
    }
    data.push_back(std::move(datum));
  }
  ensure(at == bytes.size(), "a message is longer than its data");
  return data;
}

namespace {

void check_parts(const scheduling::Message& m, std::size_t bytes) {
  ensure(bytes == static_cast<std::size_t>(m.bytes),
         "a message holds {} bytes, but {} were planned", bytes, m.bytes);
}

const CutLayout& cut_of(const scheduling::DataRef& ref, const WireContext& context) {
  return context.cuts.at(static_cast<std::size_t>(ref.id.visit));
}

}  // namespace

bool stays_on_device(const scheduling::Message& m, const WireContext& context) {
  return context.device_messages && !context.plain &&
         std::ranges::all_of(m.data,
                             [](const auto& ref) { return ref.id.kind == DataKind::kActivation; });
}

std::vector<comm::ConstBuffer> device_parts(const scheduling::Message& m, const DataStore& store,
                                            const WireContext& context) {
  std::vector<comm::ConstBuffer> parts;
  std::size_t bytes = 0;
  for (const auto& ref : m.data) {
    const auto datum = store.get(ref.id);
    for (const auto& tensor : cut_of(ref, context)) {
      const auto view = checked_activation(*datum, tensor);
      parts.push_back({datum, {view.as<std::byte>(), view.bytes()}});
      bytes += view.bytes();
    }
  }
  check_parts(m, bytes);
  return parts;
}

DeviceLanding make_device_room(const scheduling::Message& m, const WireContext& context) {
  DeviceLanding landing;
  std::size_t bytes = 0;
  for (const auto& ref : m.data) {
    auto datum = std::make_shared<Datum>();
    for (const auto& tensor : cut_of(ref, context)) {
      model::Tensor room(context.backend->memory(), tensor.dtype, tensor.shape);
      const model::View view = room.view();
      landing.parts.push_back({datum, {view.as<std::byte>(), view.bytes()}});
      bytes += view.bytes();
      datum->activations.put(tensor.name, std::move(room));
    }
    landing.data.push_back(std::move(datum));
  }
  check_parts(m, bytes);
  return landing;
}

}  // namespace seamwright::worker
