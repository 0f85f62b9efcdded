// Any bytes as scheduler_config.json, through every sampler; two bytes choose sampler and steps.
#include <cmath>

#include "model/sampling/sampler.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace seamwright;
  if (size < 2) return 0;
  return expect_clean_refusal([&] {
    model::Json document = model::parse_json(text_of(data + 2, size - 2), "fuzz.json");
    if (!document.is_object()) return;
    const model::Config file(std::move(document), "fuzz.json");
    const auto names = model::sampler_names();
    const std::size_t choice = data[0] % (names.size() + 1);
    const auto config = model::read_sampler_config(
        file, choice == names.size() ? std::string_view() : names[choice]);
    const auto sampler = model::make_sampler(config, 1 + data[1] % 60);
    std::vector<float> x(4, 0.5F), e(4, 0.25F), noise(4, -0.5F), history(4), input(4);
    for (float& value : x) value *= sampler->init_noise_sigma();
    for (int k = 0; k < sampler->steps(); ++k) {
      if (std::isnan(sampler->timestep(k))) std::abort();
      sampler->scale_input(k, x, input);
      sampler->step(k, x, e, noise, history, x);
    }
  });
}
