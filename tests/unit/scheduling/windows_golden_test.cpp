// Window lists against the reference loop's (tests/fixtures/windows).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "scheduling/windows.h"

namespace seamwright::scheduling {
namespace {

class WindowsGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(WindowsGolden, AreTheReferences) {
  const std::string path = std::string(SEAMWRIGHT_FIXTURES) + "/windows/" + GetParam() + ".json";
  std::ifstream file(path);
  ASSERT_TRUE(file) << path;
  const auto document = nlohmann::json::parse(file);
  WindowRequest request;
  request.frames = document.at("frames");
  request.window = document.at("window");
  request.overlap = document.at("overlap");
  request.stride = document.at("context_stride");
  request.schedule = parse_schedule(document.at("window_schedule").get<std::string>());
  const auto& steps = document.at("windows");
  ASSERT_FALSE(steps.empty());
  for (std::size_t step = 0; step < steps.size(); ++step) {
    std::vector<std::vector<int>> own;
    for (const auto& window : windows_at_step(request, static_cast<int>(step))) {
      own.push_back(window.frames);
    }
    EXPECT_EQ(own, steps[step].get<std::vector<std::vector<int>>>()) << "step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, WindowsGolden,
                         ::testing::Values("static-flat-40", "static-flat-43",
                                           "static-window12-overlap4-43", "one-frame",
                                           "looped-flat-40", "looped-flat-43", "looped-stride3-40",
                                           "uniform-flat-40", "uniform-flat-43",
                                           "uniform-stride3-43"));

}  // namespace
}  // namespace seamwright::scheduling
