// In a build without CUDA: says so among the results, once.
#include <gtest/gtest.h>

TEST(Gpu, IsTested) {
  GTEST_SKIP() << "this build has no CUDA backend: configure with the preset cuda";
}
