// The full product behind the cover in tests/unit/worker/layout_test.cpp: every layout, thread
// count, order, sampler, schedule, coherence and precision, over threads and over MPI, gives the
// bits of one rank; and every layout does with lengths that do not divide. One test for each
// request, layout and transport, so that ctest can go on where it was.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "tests/integration/layout_runs.h"

namespace seamwright {
namespace {

using scheduling::Layout;
using worker::GenerateOptions;

struct ProductCase {
  std::string sampler = "ddim", coherence = "local", schedule = "static", precision = "fp32";
  Layout layout;
  Carrier carrier = Carrier::kThreads;
  int frames = 19;  // the last window is shifted back
  int overlap = 4;
};

std::string name_of(const ProductCase& c) {
  const std::string sampler = c.sampler == "dpm++_2m" ? "dpmpp_2m" : c.sampler;
  return fmt::format("{}_{}_{}_{}_{}_{}_{}frames", c.carrier == Carrier::kMpi ? "mpi" : "threads",
                     to_string(c.layout), sampler, c.coherence, c.schedule, c.precision, c.frames);
}

void PrintTo(const ProductCase& c, std::ostream* out) { *out << name_of(c); }

GenerateOptions options_of(const ProductCase& c, int threads, const std::string& order) {
  GenerateOptions o;
  o.model_folder = SEAMWRIGHT_FIXTURES "/checkpoints/unet2d_adapter_v3";
  auto& r = o.request;
  r.prompt = "a cat on a hill";
  r.frames = c.frames;
  r.window = 8;
  r.overlap = c.overlap;
  r.width = r.height = 32;  // small, for there are many
  r.steps = 3;
  r.guidance = 4;
  r.seed = 11;
  r.order = order;
  r.coherence = c.coherence;
  r.resample = c.frames <= 10 ? 2 : 1;
  r.window_schedule = c.schedule;
  r.context_stride = c.schedule == "static" ? 1 : 2;
  r.sampler = c.sampler;
  r.precision = c.precision;
  r.device = "cpu";
  o.layout = c.layout;
  o.threads = threads;
  return o;
}

// Early frames must not depend on late ones.
bool streams(const ProductCase& c) {
  return c.schedule == "static" && (c.coherence == "causal" || c.overlap <= 4);
}

std::vector<GenerateOptions> runs_of(const ProductCase& c) {
  std::vector<GenerateOptions> runs;
  for (const int threads : {1, 2}) {
    for (const std::string order : {"throughput", "streaming"}) {
      if (order == "throughput" || streams(c)) runs.push_back(options_of(c, threads, order));
    }
  }
  return runs;
}

const std::vector<Layout>& layouts() {
  static const std::vector<Layout> all = {{1, 1, false}, {2, 1, false}, {1, 2, false},
                                          {2, 2, false}, {4, 1, false}, {1, 4, false},
                                          {3, 2, false}, {1, 3, true}};
  return all;
}

const std::vector<std::string>& samplers() {
  static const std::vector<std::string> all = {"ddim", "dpm++_2m", "euler_a"};
  return all;
}

std::vector<ProductCase> cases() {
  std::vector<ProductCase> all;
  for (const auto carrier : {Carrier::kThreads, Carrier::kMpi}) {
    for (const auto& layout : layouts()) {
      for (const auto& sampler : samplers()) {
        for (const auto& [coherence, schedule] :
             {std::pair("local", "static"), std::pair("causal", "static"),
              std::pair("local", "uniform")}) {
          for (const std::string precision : {"fp32", "bf16"}) {
            all.push_back({sampler, coherence, schedule, precision, layout, carrier});
          }
        }
      }
    }
  }
  return all;
}

// One frame, one window, fewer windows than groups, a remainder, three windows over one frame; the
// samplers and precisions in turn.
std::vector<ProductCase> lengths() {
  std::vector<ProductCase> all;
  for (const auto carrier : {Carrier::kThreads, Carrier::kMpi}) {
    for (const auto& layout : layouts()) {
      for (const auto& [frames, overlap] : {std::pair(1, 4), std::pair(8, 4), std::pair(10, 4),
                                            std::pair(43, 4), std::pair(29, 6)}) {
        for (const std::string coherence : {"local", "causal"}) {
          const auto& sampler = samplers()[all.size() % 3];
          const std::string precision = all.size() / 3 % 2 == 0 ? "fp32" : "bf16";
          all.push_back(
              {sampler, coherence, "static", precision, layout, carrier, frames, overlap});
        }
      }
    }
  }
  return all;
}

// Names of the cases that this process is to run.
std::set<std::string> chosen() {
  std::set<std::string> names;
  const auto& all = *::testing::UnitTest::GetInstance();
  for (int s = 0; s < all.total_test_suite_count(); ++s) {
    const auto& suite = *all.GetTestSuite(s);
    for (int t = 0; t < suite.total_test_count(); ++t) {
      const std::string name = suite.GetTestInfo(t)->name();
      if (suite.GetTestInfo(t)->should_run()) names.insert(name.substr(name.find('/') + 1));
    }
  }
  return names;
}

// Over MPI one gang of a layout runs all its cases that are to be run: most of a case's time would
// be the start of processes. Empty for a case that its gang did not come to.
std::vector<nlohmann::json> reports_over_mpi(const ProductCase& c) {
  static std::map<std::string, std::map<std::string, std::vector<nlohmann::json>>> known;
  const auto [at, added] = known.try_emplace(to_string(c.layout));
  if (!added) return at->second[name_of(c)];
  auto all = cases();
  std::ranges::copy(lengths(), std::back_inserter(all));
  const auto wanted = chosen();
  std::vector<GenerateOptions> runs;
  std::vector<std::string> owners;
  for (const auto& one : all) {
    if (one.carrier != Carrier::kMpi || one.layout != c.layout) continue;
    if (!wanted.contains(name_of(one))) continue;
    for (auto& run : runs_of(one)) {
      runs.push_back(std::move(run));
      owners.push_back(name_of(one));
    }
  }
  const auto reports = reports_of(runs, Carrier::kMpi);
  for (std::size_t i = 0; i < reports.size(); ++i) at->second[owners[i]].push_back(reports[i]);
  return at->second[name_of(c)];
}

class Product : public ::testing::TestWithParam<ProductCase> {};

TEST_P(Product, GivesTheBitsOfOneRank) {
  const auto& c = GetParam();
  if (!can_run(c.carrier)) GTEST_SKIP() << "mpirun is not installed";
  const auto runs = runs_of(c);
  expect_bits_of_one_rank(
      runs, c.carrier == Carrier::kMpi ? reports_over_mpi(c) : reports_of(runs, c.carrier));
  // What the product leaves out is refused, not forgotten.
  auto other = options_of(c, 1, "streaming");
  if (!streams(c)) {
    EXPECT_THROW(worker::generate(other, {}), Error);
  }
  other.request.coherence = "causal";
  if (c.schedule != "static") {
    EXPECT_THROW(worker::generate(other, {}), Error);
  }
}

INSTANTIATE_TEST_SUITE_P(Full, Product, ::testing::ValuesIn(cases()),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Lengths, Product, ::testing::ValuesIn(lengths()),
                         [](const auto& info) { return name_of(info.param); });

// The same gangs as users start them.
class Program : public ::testing::TestWithParam<ProductCase> {};

TEST_P(Program, GivesTheBitsOfOneRankUnderMpirun) {
  if (!can_run(Carrier::kMpi)) GTEST_SKIP() << "mpirun is not installed";
  const auto options = options_of(GetParam(), 1, "throughput");
  const auto report = report_of_program(options);
  ASSERT_TRUE(report.is_object());
  EXPECT_EQ(report.at("latents_sha256"), hash_of_one_rank(options));
}

std::vector<ProductCase> started_by_the_program() {
  std::vector<ProductCase> all;
  for (const auto& layout : layouts()) {
    for (const std::string precision : {"fp32", "bf16"}) {
      all.push_back(
          {samplers()[all.size() % 3], "local", "static", precision, layout, Carrier::kMpi});
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Full, Program, ::testing::ValuesIn(started_by_the_program()),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace seamwright
