// Any bytes as each of the config.json files of a model folder; the first byte picks which.
#include "model/config_readers.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace seamwright;
  if (size == 0) return 0;
  return expect_clean_refusal([&] {
    model::Json document = model::parse_json(text_of(data + 1, size - 1), "fuzz.json");
    if (!document.is_object()) return;
    const model::Config config(std::move(document), "fuzz.json");
    switch (data[0] % 5) {
      case 0:
        model::read_unet_config(config);
        break;
      case 1:
        model::read_motion_adapter_config(config);
        break;
      case 2:
        model::read_vae_config(config);
        break;
      case 3:
        model::read_tiny_vae_config(config);
        break;
      default:
        model::read_clip_text_config(config);
        break;
    }
  });
}
