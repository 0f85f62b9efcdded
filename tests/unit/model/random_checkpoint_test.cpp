#include "model/random_checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "model/inspect.h"
#include "model/reference/reference.h"
#include "tests/unit/model/backend_contract.h"

namespace seamwright::model {
namespace {

namespace fs = std::filesystem;

TEST(RandomCheckpoint, LoadsStrictlyInShardsWithActivationsOfOrderOne) {
  const fs::path folder = fs::path(::testing::TempDir()) / "random_checkpoint";
  fs::remove_all(folder);
  const RandomCheckpoint request{.folder = folder,
                                 .tokenizer = fs::path(SEAMWRIGHT_FIXTURES) / "tokenizer" / "clip",
                                 .shard_bytes = 8 << 20,
                                 .shrink = 8};
  const std::size_t bytes = write_random_checkpoint(request);
  const ModelReport report = inspect_model({.load = {.model = folder}});
  EXPECT_TRUE(report.loads()) << to_text(report);
  EXPECT_GT(report.parts[0].files, 2U) << "the U-Net and the adapter should be in shards";
  std::size_t stored = 0;
  for (const auto& part : report.parts) stored += part.stored_bytes;
  EXPECT_EQ(stored, bytes);
  EXPECT_EQ(report.max_window, 32);

  const auto backend = make_reference_backend();
  const auto model =
      VideoModel::load({.model = folder, .parts = {Part::kDenoiser, Part::kTextEncoder}}, *backend);
  Exec exec{*backend, heap()};
  PromptContext context(model->text().encode(exec, "a random prompt").embeddings);
  Tensor sample(heap(), DType::kF64, {2, 8, 8, 4});
  for (int i = 0; i < 512; ++i) sample.view().as<double>()[i] = std::sin(1.7 * i) * 1.4;
  const Tensor y = model->denoiser().predict(exec, sample, {.timestep = 500, .context = &context});
  double squares = 0;
  for (double v : testing_support::values_of(*backend, y)) squares += v * v;
  const double rms = std::sqrt(squares / 512);
  EXPECT_GT(rms, 0.1);
  EXPECT_LT(rms, 10);
  EXPECT_THROW(write_random_checkpoint(request), Error) << "it must not overwrite a model";
  fs::remove_all(folder);
}

}  // namespace
}  // namespace seamwright::model
