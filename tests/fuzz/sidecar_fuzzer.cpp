// Any bytes as a sidecar or embedded comment.
#include "media/metadata.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace seamwright;
  return expect_clean_refusal([&] { media::parse_sidecar(text_of(data, size), "fuzz"); });
}
