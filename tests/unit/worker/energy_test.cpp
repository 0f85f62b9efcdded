#include "worker/energy.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace seamwright::worker {
namespace {

namespace fs = std::filesystem;

class Powercap : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder_);
    write("intel-rapl:0", 5'000'000);
    write("intel-rapl:1", 7'000'000);
    write("intel-rapl:0:0", 4'000'000);                // a part of package 0
    fs::create_directories(folder_ / "intel-rapl:2");  // nothing to read
    fs::create_directories(folder_ / "dtpm");
  }
  void TearDown() override { fs::remove_all(folder_); }
  void write(const std::string& zone, std::int64_t microjoules) {
    fs::create_directories(folder_ / zone);
    std::ofstream(folder_ / zone / "energy_uj") << microjoules << '\n';
    std::ofstream(folder_ / zone / "max_energy_range_uj") << 100'000'000 << '\n';
  }
  fs::path folder_ =
      fs::path(::testing::TempDir()) / ("seamwright-energy-" + std::to_string(::getpid()));
};

TEST_F(Powercap, AddsPackagesAndNotTheirParts) {
  EnergyMeter meter(rapl_counters(folder_), {});
  write("intel-rapl:0", 9'000'000);
  write("intel-rapl:1", 7'500'000);
  write("intel-rapl:0:0", 8'000'000);
  const auto report = meter.report(std::nullopt);
  EXPECT_NEAR(report.at("cpu_joules").get<double>(), 4.5, 1e-9);
  EXPECT_FALSE(report.contains("gpu_joules"));
  EXPECT_FALSE(report.contains("grams_co2e"));
}

TEST_F(Powercap, CountsOnWhereACounterWrapped) {
  EnergyMeter meter(rapl_counters(folder_), {});
  write("intel-rapl:0", 1'000'000);  // 5 -> 100 = 0 -> 1
  EXPECT_NEAR(meter.report(std::nullopt).at("cpu_joules").get<double>(), 96, 1e-9);
}

TEST_F(Powercap, TurnsJoulesIntoGrams) {
  EnergyMeter meter(rapl_counters(folder_), {});
  write("intel-rapl:0", 41'000'000);
  EXPECT_NEAR(meter.report(400.0).at("grams_co2e").get<double>(), 36.0 / 3.6e6 * 400, 1e-12);
}

TEST_F(Powercap, SaysNothingWhereACounterIsGone) {
  EnergyMeter meter(rapl_counters(folder_), {});
  fs::remove_all(folder_ / "intel-rapl:1");
  EXPECT_TRUE(meter.report(400.0).is_null());
}

TEST(EnergyMeter, SaysNothingWithoutCounters) {
  EnergyMeter meter(rapl_counters("/nonexistent"), nvml_counters({}));
  EXPECT_TRUE(meter.report(400.0).is_null());
}

}  // namespace
}  // namespace seamwright::worker
