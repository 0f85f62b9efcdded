// Reading and writing of one .safetensors file: named tensors in a memory-mapped file.
// Threads: a reader is immutable and may be shared; a write is one call.
//
// The file is 8 bytes little-endian header length N, N bytes of JSON, then the data. The JSON maps
// each name to {"dtype", "shape", "data_offsets": [begin, end)} relative to the data; the optional
// "__metadata__" maps strings to strings. Tensors must tile the data without a gap or an overlap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/mapped_file.h"
#include "model/tensor.h"

namespace seamwright::model {

// A view of one tensor in a mapped file; valid while the reader lives.
struct StoredTensor {
  std::string name;
  DType type = DType::kF32;
  Shape shape;
  std::span<const std::byte> bytes;

  ConstView view() const { return {bytes.data(), type, shape}; }
};

// Converts a floating-point tensor (F64, F32, F16, BF16) to float. `out` must have its element
// count. Throws kUnsupported for other types.
void copy_to_float(const StoredTensor& tensor, std::span<float> out);

// The parsed header of one file.
struct SafetensorsHeader {
  std::vector<StoredTensor> tensors;  // in ascending order of name
  std::map<std::string, std::string> metadata;
};

inline constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the reference library's limit

// Checks and parses a whole file's bytes; `file` names it in errors. The views point into
// `file_bytes` and are as aligned as those. Throws kCorrupt, or kUnsupported for element types
// that DType lacks.
SafetensorsHeader parse_safetensors(std::span<const std::byte> file_bytes, std::string_view file);

// One open file. Views are aligned to their elements: where an old writer left the header unpadded,
// the data part is copied once instead of mapped.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::vector<StoredTensor>& tensors() const { return header_.tensors; }
  const StoredTensor* find(std::string_view name) const;  // null when absent
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  const MappedFile& mapping() const { return mapping_; }

 private:
  MappedFile mapping_;
  Tensor aligned_copy_;  // absent unless the file needs it
  SafetensorsHeader header_;
};

// Writes the tensors to `path` so that it holds either its old content or all of the new:
// temporary file beside it, fsync, rename, fsync of the folder. Throws kIo.
void write_safetensors(const std::filesystem::path& path, std::span<const StoredTensor> tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace seamwright::model
