// Samplers from the text of a scheduler_config.json.
// Threads: safe anywhere.
#pragma once

#include <memory>
#include <string_view>

#include "model/sampling/sampler.h"
#include "tests/unit/model/test_files.h"

namespace seamwright::model {

inline SamplerConfig sampler_config(std::string_view json, std::string_view name = {}) {
  return read_sampler_config(Config(parse_json(json, "s.json"), "s.json"), name);
}

inline std::unique_ptr<Sampler> sampler(std::string_view json, std::string_view name, int steps,
                                        int first_step = 0) {
  return make_sampler(sampler_config(json, name), steps, first_step);
}

}  // namespace seamwright::model
