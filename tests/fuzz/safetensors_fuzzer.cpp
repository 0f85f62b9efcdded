// Any bytes as a .safetensors file.
#include <algorithm>
#include <vector>

#include "model/safetensors.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace seamwright;
  return expect_clean_refusal([&] {
    // 16-byte alignment, as a mapped file has.
    std::vector<std::uint64_t> aligned(size / 8 + 2);
    auto* bytes = reinterpret_cast<std::byte*>(aligned.data());
    std::copy_n(reinterpret_cast<const std::byte*>(data), size, bytes);
    const model::SafetensorsHeader header = model::parse_safetensors({bytes, size}, "fuzz");
    std::uint8_t sum = 0;
    for (const model::StoredTensor& tensor : header.tensors) {
      for (const std::byte byte : tensor.bytes) sum ^= static_cast<std::uint8_t>(byte);
    }
    [[maybe_unused]] static volatile std::uint8_t sink;
    sink = sum;
  });
}
