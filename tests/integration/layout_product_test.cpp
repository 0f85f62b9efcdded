// The full product behind the cover in tests/unit/worker/layout_test.cpp: every layout, thread
// count, order, sampler, schedule, coherence and precision, over threads and over MPI, gives the
// bits of one rank. One test for each request, layout and transport, so that ctest can go on where
// it was.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "media/child_process.h"
#include "tests/integration/fault_run.h"
#include "tests/unit/media/temporary_folder.h"
#include "worker/generate.h"

namespace seamwright {
namespace {

using scheduling::Layout;

struct Request {
  std::string sampler, coherence, schedule, precision;
};

struct ProductCase {
  Request request;
  Layout layout;
  bool mpi = false;
};

std::string name_of(const ProductCase& c) {
  std::string sampler = c.request.sampler == "dpm++_2m" ? "dpmpp_2m" : c.request.sampler;
  return fmt::format("{}_{}_{}_{}_{}_{}", c.mpi ? "mpi" : "threads", to_string(c.layout), sampler,
                     c.request.coherence, c.request.schedule, c.request.precision);
}

void PrintTo(const ProductCase& c, std::ostream* out) { *out << name_of(c); }

worker::GenerateOptions options_of(const Request& request, const Layout& layout, int threads,
                                   const std::string& order) {
  worker::GenerateOptions o;
  o.model_folder = SEAMWRIGHT_FIXTURES "/checkpoints/unet2d_adapter_v3";
  auto& r = o.request;
  r.prompt = "a cat on a hill";
  r.frames = 27;  // the last window is shifted back
  r.window = 8;
  r.overlap = 4;
  r.width = r.height = 64;
  r.steps = 3;
  r.guidance = 4;
  r.seed = 11;
  r.order = order;
  r.coherence = request.coherence;
  r.window_schedule = request.schedule;
  r.context_stride = request.schedule == "static" ? 1 : 2;
  r.sampler = request.sampler;
  r.precision = request.precision;
  r.device = "cpu";
  o.layout = layout;
  o.threads = threads;
  return o;
}

// The same by way of the program and mpirun.
nlohmann::json report_over_mpi(const worker::GenerateOptions& o) {
  const media::TemporaryFolder folder;
  const auto report = folder / "r.json";
  const auto& r = o.request;
  media::ChildSpec spec;
  spec.argv = {SEAMWRIGHT_PROGRAM,
               "generate",
               "--model",
               o.model_folder.string(),
               "--prompt",
               r.prompt,
               "--frames",
               std::to_string(r.frames),
               "--window",
               std::to_string(r.window),
               "--overlap",
               std::to_string(r.overlap),
               "--size",
               fmt::format("{}x{}", r.width, r.height),
               "--steps",
               std::to_string(r.steps),
               "--guidance",
               fmt::format("{}", r.guidance),
               "--seed",
               std::to_string(r.seed),
               "--order",
               r.order,
               "--coherence",
               r.coherence,
               "--window-schedule",
               r.window_schedule,
               "--context-stride",
               std::to_string(r.context_stride),
               "--sampler",
               r.sampler,
               "--precision",
               r.precision,
               "--device",
               "cpu",
               "--threads",
               std::to_string(o.threads),
               "--window-parallel-size",
               std::to_string(o.layout.groups),
               "--pipeline-parallel-size",
               std::to_string(o.layout.stages),
               "--launcher",
               "mpirun",
               "--no-video",
               "--quiet",
               "--report",
               report.string()};
  if (o.layout.folded) spec.argv.emplace_back("--folded");
  const auto made = media::run_child(spec, std::chrono::minutes(5));
  EXPECT_EQ(made.exit.code, 0) << made.errors;
  return nlohmann::json::parse(std::ifstream(report), nullptr, false);
}

class Product : public ::testing::TestWithParam<ProductCase> {};

TEST_P(Product, GivesTheBitsOfOneRank) {
  const auto& c = GetParam();
  if (c.mpi && !has_mpirun()) GTEST_SKIP() << "mpirun is not installed";
  const auto alone =
      worker::generate(options_of(c.request, {}, 1, "throughput"), {}).report.at("latents_sha256");
  const bool streams = c.request.schedule == "static";
  for (const std::string order : {"throughput", "streaming"}) {
    if (order == "streaming" && !streams) continue;
    for (const int threads : {1, 2}) {
      SCOPED_TRACE(fmt::format("{}, {} threads", order, threads));
      const auto options = options_of(c.request, c.layout, threads, order);
      const auto report = c.mpi ? report_over_mpi(options) : worker::generate(options, {}).report;
      ASSERT_TRUE(report.is_object());
      EXPECT_EQ(report.at("latents_sha256"), alone);
      ASSERT_EQ(report.at("ranks").size(), static_cast<std::size_t>(c.layout.ranks()));
      double forwards = 0;
      for (const auto& rank : report.at("ranks")) {
        forwards += rank.at("forwards").get<double>();
        EXPECT_LE(rank.at("peak_live_bytes").get<double>(),
                  rank.at("planned_live_bytes").get<double>());
      }
      EXPECT_EQ(forwards, report.at("evaluations").get<double>() * c.layout.visits());
    }
  }
}

std::vector<ProductCase> cases() {
  const std::vector<Layout> layouts = {{1, 1, false}, {2, 1, false}, {1, 2, false}, {2, 2, false},
                                       {4, 1, false}, {1, 4, false}, {3, 2, false}, {1, 3, true}};
  std::vector<ProductCase> all;
  for (const bool mpi : {false, true}) {
    for (const auto& layout : layouts) {
      for (const std::string sampler : {"ddim", "dpm++_2m", "euler_a"}) {
        for (const auto& [coherence, schedule] :
             {std::pair("local", "static"), std::pair("causal", "static"),
              std::pair("local", "uniform")}) {
          for (const std::string precision : {"fp32", "bf16"}) {
            all.push_back({{sampler, coherence, schedule, precision}, layout, mpi});
          }
        }
      }
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Full, Product, ::testing::ValuesIn(cases()),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace seamwright
