// Any bytes as what a control connection receives, cut into pieces by their own first byte; the
// goodbye that names what is wrong with them must go out too.
#include "comm/control/message.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace seamwright;
  if (size == 0) return 0;
  const std::size_t piece = data[0] + std::size_t{1};
  std::span<const std::byte> bytes = std::as_bytes(std::span(data + 1, size - 1));
  return expect_clean_refusal([&] {
    comm::ControlParser parser({4096, 65536, 16});
    try {
      while (!bytes.empty()) {
        std::span<const std::byte> part = bytes.first(std::min(piece, bytes.size()));
        bytes = bytes.subspan(part.size());
        while (!part.empty()) {
          if (const auto message = parser.feed(part)) {
            comm::encode_control_head({{{"type", "echo"}, {"about", message->header}}, {}});
          }
        }
      }
    } catch (const Error& error) {
      comm::encode_control_head({{{"type", "link.bye"}, {"reason", error.what()}}, {}});
      throw;
    }
  });
}
