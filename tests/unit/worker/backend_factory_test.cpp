// Which backend a request's device and precision mean, and what is said where there is none.
#include <gtest/gtest.h>

#include "base/error.h"
#include "model/cuda/cuda_backend.h"
#include "worker/generate.h"

namespace seamwright::worker {
namespace {

std::string refusal(const std::string& device, const std::string& precision) {
  try {
    make_backend(device, precision, 1);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(MakeBackend, TakesTheProcessorOrTheReference) {
  EXPECT_EQ(make_backend("cpu", "fp32", 1)->name(), "cpu");
  EXPECT_EQ(make_backend("cpu", "bf16", 1)->activation_type(), model::DType::kBF16);
  EXPECT_EQ(make_backend("reference", "fp32", 1)->name(), "reference");
  EXPECT_NE(refusal("reference", "bf16"), "");
  EXPECT_NE(refusal("cpu", "fp16").find("needs device cuda"), std::string::npos);
}

TEST(MakeBackend, SaysWhyThereIsNoGpu) {
  if (!model::cuda_devices().empty()) GTEST_SKIP() << "this host has a CUDA device";
  const std::string why = refusal("cuda", "bf16");
  EXPECT_NE(why.find("device cpu"), std::string::npos) << why;
  EXPECT_NE(why.find(model::cuda_built_in() ? "no CUDA device" : "not in this build"),
            std::string::npos)
      << why;
}

TEST(MakeBackend, GoesOnWithoutAGpuWhereNoneIsAskedFor) {
  if (!model::cuda_devices().empty()) GTEST_SKIP() << "this host has a CUDA device";
  EXPECT_EQ(make_backend("auto", "bf16", 1)->name(), "cpu");
}

}  // namespace
}  // namespace seamwright::worker
