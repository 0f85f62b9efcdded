#include "base/error.h"
#include "bench/scaling.h"

namespace seamwright::bench {

using Json = nlohmann::json;

Json to_json(const ScalingCase& run) {
  return {{"layout", scheduling::to_string(run.layout)},
          {"windows_per_group", run.windows_per_group},
          {"steps", run.steps},
          {"branches", run.branches},
          {"forward_ms", run.forward_ms},
          {"jitter", run.jitter},
          {"seed", run.seed},
          {"order", scheduling::to_string(run.order)},
          {"spans", run.spans},
          {"rank_speeds", run.rank_speeds},
          {"measured", run.measured}};
}

ScalingCase scaling_case_from_json(const Json& document) {
  try {
    ScalingCase run;
    run.layout = scheduling::parse_layout(document.at("layout").get<std::string>());
    run.windows_per_group = document.at("windows_per_group").get<int>();
    run.steps = document.at("steps").get<int>();
    run.branches = document.at("branches").get<int>();
    run.forward_ms = document.at("forward_ms").get<double>();
    run.jitter = document.at("jitter").get<double>();
    run.seed = document.at("seed").get<std::uint64_t>();
    run.order = scheduling::parse_order(document.at("order").get<std::string>());
    run.spans = document.value("spans", false);
    run.rank_speeds = document.value("rank_speeds", std::vector<double>{});
    run.measured = document.value("measured", false);
    return run;
  } catch (const Json::exception& error) {
    fail(ErrorCode::kInvalidArgument, "not a scaling case: {}", error.what());
  }
}

}  // namespace seamwright::bench
