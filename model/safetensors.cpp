#include "model/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>

#include "base/error.h"
#include "base/quoted.h"
#include "model/convert.h"
#include "model/safetensors_header.h"

namespace seamwright::model {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian");

constexpr std::array kTypes{DType::kF64, DType::kF32, DType::kF16, DType::kBF16,
                            DType::kI64, DType::kI32, DType::kU8};

std::optional<DType> parse_type(std::string_view text) {
  for (const DType type : kTypes) {
    if (to_string(type) == text) return type;
  }
  return std::nullopt;
}

// Where a tensor's bytes lie in the data part.
struct Extent {
  std::uint64_t begin;
  std::uint64_t end;
  std::size_t entry;
};

// shape x element size, or a refusal when that does not fit 63 bits.
std::uint64_t byte_count(const HeaderEntry& entry, DType type, std::string_view file) {
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  std::uint64_t bytes = byte_size(type);
  for (const std::uint64_t extent : entry.shape) {
    if (extent > kMost || (extent != 0 && bytes > kMost / extent)) {
      fail(ErrorCode::kCorrupt, "{}: the shape of tensor {} is too large", file,
           in_quotes(entry.name));
    }
    bytes *= extent;
  }
  return bytes;
}

StoredTensor check_entry(const HeaderEntry& entry, std::span<const std::byte> data,
                         std::string_view file) {
  const auto type = parse_type(entry.dtype);
  if (!type) {
    fail(ErrorCode::kUnsupported,
         "{}: tensor {} has type {}; readable are F64 F32 F16 BF16 I64 I32 U8: convert the file "
         "to F16",
         file, in_quotes(entry.name), in_quotes(entry.dtype));
  }
  const std::uint64_t begin = entry.offsets[0];
  const std::uint64_t end = entry.offsets[1];
  if (begin > end || end > data.size()) {
    fail(ErrorCode::kCorrupt,
         "{}: tensor {} claims bytes {} to {}, but the file holds {} bytes of data: it is "
         "damaged or was cut short; fetch it again",
         file, in_quotes(entry.name), begin, end, data.size());
  }
  const std::uint64_t expected = byte_count(entry, *type, file);
  const std::vector<std::int64_t> dims(entry.shape.begin(), entry.shape.end());
  StoredTensor tensor{.name = entry.name, .type = *type, .shape = Shape(dims), .bytes = {}};
  if (expected != end - begin) {
    fail(ErrorCode::kCorrupt, "{}: tensor {} of type {} and shape {} needs {} bytes, but has {}",
         file, in_quotes(entry.name), entry.dtype, tensor.shape.to_string(), expected, end - begin);
  }
  if (begin % byte_size(*type) != 0) {
    fail(ErrorCode::kCorrupt,
         "{}: tensor {} begins at byte {} of the data, which is no multiple of its element size: "
         "write the file again with a current safetensors library",
         file, in_quotes(entry.name), begin);
  }
  tensor.bytes = data.subspan(begin, end - begin);
  return tensor;
}

// The tensors must tile [0, size) exactly: a hole could hide data, an overlap aliases weights.
void check_tiling(std::vector<Extent> extents, const std::vector<HeaderEntry>& entries,
                  std::uint64_t size, std::string_view file) {
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  std::uint64_t reached = 0;
  std::string_view previous = "the header";
  for (const Extent& extent : extents) {
    const std::string& name = entries[extent.entry].name;
    if (extent.begin < reached) {
      fail(ErrorCode::kCorrupt, "{}: tensors {} and {} overlap", file, in_quotes(previous),
           in_quotes(name));
    }
    if (extent.begin > reached) {
      fail(ErrorCode::kCorrupt, "{}: {} bytes before tensor {} belong to no tensor", file,
           extent.begin - reached, in_quotes(name));
    }
    reached = extent.end;
    previous = name;
  }
  if (reached != size) {
    fail(ErrorCode::kCorrupt, "{}: {} bytes at the end belong to no tensor", file, size - reached);
  }
}

template <class Stored, class Convert>
void copy_each(std::span<const std::byte> bytes, std::span<float> out, Convert&& to_float) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    Stored value;
    std::memcpy(&value, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    out[i] = to_float(value);
  }
}

}  // namespace

void copy_to_float(const StoredTensor& tensor, std::span<float> out) {
  ensure(out.size() == static_cast<std::size_t>(tensor.shape.elements()),
         "tensor {} has {} elements, the buffer {}", in_quotes(tensor.name),
         tensor.shape.elements(), out.size());
  switch (tensor.type) {
    case DType::kF64:
      return copy_each<double>(tensor.bytes, out, [](double v) { return static_cast<float>(v); });
    case DType::kF32:
      if (!out.empty()) std::memcpy(out.data(), tensor.bytes.data(), tensor.bytes.size());
      return;
    case DType::kF16:
      return copy_each<std::uint16_t>(tensor.bytes, out, half_to_float);
    case DType::kBF16:
      return copy_each<std::uint16_t>(tensor.bytes, out, bf16_to_float);
    default:
      fail(ErrorCode::kUnsupported,
           "tensor {} has type {}, but weights must be floating-point (F32, F16, BF16 or F64)",
           in_quotes(tensor.name), to_string(tensor.type));
  }
}

SafetensorsHeader parse_safetensors(std::span<const std::byte> file_bytes, std::string_view file) {
  if (file_bytes.size() < 8) {
    fail(ErrorCode::kCorrupt, "{}: {} bytes are too few for a safetensors file", file,
         file_bytes.size());
  }
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file_bytes.data(), 8);
  if (header_bytes > kMaxHeaderBytes) {
    fail(ErrorCode::kCorrupt,
         "{}: the header claims {} bytes, more than the {} allowed: this is no safetensors file",
         file, header_bytes, kMaxHeaderBytes);
  }
  if (header_bytes > file_bytes.size() - 8) {
    fail(ErrorCode::kCorrupt,
         "{}: the header claims {} bytes, but only {} follow: the file was cut short; fetch it "
         "again",
         file, header_bytes, file_bytes.size() - 8);
  }
  const std::string_view json(reinterpret_cast<const char*>(file_bytes.data()) + 8, header_bytes);
  if (!json.starts_with('{')) {
    fail(ErrorCode::kCorrupt, "{}: damaged safetensors header: it does not begin with '{{'", file);
  }
  HeaderText text = read_header_json(json, file);

  const auto data = file_bytes.subspan(8 + header_bytes);
  SafetensorsHeader header;
  header.metadata = std::move(text.metadata);
  std::vector<Extent> extents;
  for (std::size_t i = 0; i < text.entries.size(); ++i) {
    header.tensors.push_back(check_entry(text.entries[i], data, file));
    extents.push_back({text.entries[i].offsets[0], text.entries[i].offsets[1], i});
  }
  check_tiling(std::move(extents), text.entries, data.size(), file);
  std::sort(header.tensors.begin(), header.tensors.end(),
            [](const StoredTensor& a, const StoredTensor& b) { return a.name < b.name; });
  return header;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : mapping_(path), header_(parse_safetensors(mapping_.bytes(), path.string())) {
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, mapping_.bytes().data(), 8);
  if (header_bytes % 8 == 0) return;
  const auto data = mapping_.bytes().subspan(8 + header_bytes);
  if (data.empty()) return;
  aligned_copy_ = Tensor(heap(), DType::kU8, {static_cast<std::int64_t>(data.size())});
  auto* copy = static_cast<std::byte*>(aligned_copy_.view().data);
  std::memcpy(copy, data.data(), data.size());
  for (StoredTensor& tensor : header_.tensors) {
    tensor.bytes = {copy + (tensor.bytes.data() - data.data()), tensor.bytes.size()};
  }
}

const StoredTensor* SafetensorsFile::find(std::string_view name) const {
  const auto found = std::lower_bound(
      header_.tensors.begin(), header_.tensors.end(), name,
      [](const StoredTensor& tensor, std::string_view wanted) { return tensor.name < wanted; });
  return found != header_.tensors.end() && found->name == name ? &*found : nullptr;
}

}  // namespace seamwright::model
