#include "model/text/prompt_encoder.h"

#include <gmock/gmock.h>

#include <cmath>

#include "model/reference/reference.h"
#include "model/safetensors.h"
#include "model/video_model.h"
#include "tests/unit/model/test_files.h"

namespace seamwright::model {
namespace {

using ::testing::HasSubstr;

const std::filesystem::path kFixtures = SEAMWRIGHT_FIXTURES;

std::unique_ptr<VideoModel> load_text(const std::filesystem::path& folder, Backend& backend) {
  LoadOptions options;
  options.model = folder;
  if (std::filesystem::exists(folder / "motion_adapter")) {
    options.motion_adapter = folder / "motion_adapter";
  }
  options.parts = {Part::kTextEncoder};
  return VideoModel::load(options, backend);
}

// Copies the small text files and the weights of a checkpoint, to be spoiled.
void copy_checkpoint(const std::string& name, const TemporaryFolder& to) {
  std::filesystem::copy(
      kFixtures / "checkpoints" / name, to.path(),
      std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
}

class PromptEncoding : public ::testing::TestWithParam<std::string> {};

TEST_P(PromptEncoding, EmbedsPromptsAsTransformersDoes) {
  const auto backend = make_reference_backend();
  const auto model = load_text(kFixtures / "checkpoints" / GetParam(), *backend);
  Exec exec{*backend, backend->memory()};
  const SafetensorsFile expected(kFixtures / "networks" / (GetParam() + "-text.safetensors"));
  const ConstView wanted = expected.find("output")->view();
  // As in tools/reference/make_networks.py.
  const std::vector<std::string> prompts = {
      "", "a red circle moving in circles over green hills at night", std::string(300, 'x')};
  for (std::size_t row = 0; row < prompts.size(); ++row) {
    const auto encoded = model->text().encode(exec, prompts[row]);
    const ConstView found = encoded.embeddings;
    const ConstView want = wanted.slice(static_cast<std::int64_t>(row), 1);
    ASSERT_EQ(found.shape, want.shape);
    double error = 0, norm = 0;
    for (std::int64_t i = 0; i < found.elements(); ++i) {
      const double w = want.as<float>()[i];
      error += (found.as<float>()[i] - w) * (found.as<float>()[i] - w);
      norm += w * w;
    }
    EXPECT_LT(std::sqrt(error / norm), 1e-6) << "prompt " << row;
    EXPECT_EQ(encoded.dropped.empty(), row != 2) << encoded.dropped;
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, PromptEncoding,
                         ::testing::Values("unetmotion3", "unet2d_adapter_v2", "unet2d_adapter_v3",
                                           "fp16", "sharded"),
                         [](const auto& info) { return info.param; });

TEST(PromptEncoder, RefusesATokenizerOfAnotherTextEncoder) {
  const TemporaryFolder folder;
  copy_checkpoint("unetmotion3", folder);
  for (const char* name : {"vocab.json", "merges.txt"}) {
    std::filesystem::copy_file(kFixtures / "tokenizer/clip" / name,
                               folder.path() / "tokenizer" / name,
                               std::filesystem::copy_options::overwrite_existing);
  }
  const auto backend = make_reference_backend();
  EXPECT_THAT(error_of([&] { load_text(folder.path(), *backend); }).what(),
              HasSubstr("token ids up to 49407"));
}

}  // namespace
}  // namespace seamwright::model
