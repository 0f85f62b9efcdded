#include "model/checkpoint_files.h"

#include <gmock/gmock.h>

#include "model/model_folder.h"
#include "tests/unit/model/test_files.h"

namespace seamwright::model {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Writes a file whose tensors each hold one float equal to `value`.
void write_floats(const std::filesystem::path& path, const std::vector<std::string>& names,
                  float value) {
  const std::vector<float> data{value};
  std::vector<StoredTensor> tensors;
  for (const std::string& name : names) {
    tensors.push_back({name, DType::kF32, {1}, std::as_bytes(std::span(data))});
  }
  write_safetensors(path, tensors);
}

float value_of(const CheckpointFiles& files, std::string_view name) {
  const auto view = files.find(name);
  EXPECT_TRUE(view.has_value()) << name;
  return view ? *view->as<float>() : -1;
}

constexpr std::string_view kIndex = R"({"metadata": {"total_size": 8}, "weight_map": {
  "a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})";

TEST(CheckpointFiles, OpensASingleFile) {
  const TemporaryFolder folder;
  write_floats(folder / "diffusion_pytorch_model.safetensors", {"x", "c"}, 3);
  const auto files = CheckpointFiles::open(folder.path(), kDiffusersStem);
  EXPECT_THAT(files->names(), ElementsAre("c", "x"));
  EXPECT_EQ(value_of(*files, "x"), 3);
  EXPECT_FALSE(files->find("y").has_value());
  EXPECT_EQ(files->total_bytes(), 8U);
  EXPECT_EQ(files->variant(), "");
}

TEST(CheckpointFiles, PrefersThePlainFileAndTakesTheVariantWhenAsked) {
  const TemporaryFolder folder;
  write_floats(folder / "model.safetensors", {"x"}, 1);
  write_floats(folder / "model.fp16.safetensors", {"x"}, 2);
  EXPECT_EQ(value_of(*CheckpointFiles::open(folder.path(), kTransformersStem), "x"), 1);
  EXPECT_EQ(value_of(*CheckpointFiles::open(folder.path(), kTransformersStem, "fp16"), "x"), 2);
}

TEST(CheckpointFiles, FallsBackToFp16WhenThatIsAllThereIs) {
  const TemporaryFolder folder;
  write_floats(folder / "model.fp16.safetensors", {"x"}, 2);
  const auto files = CheckpointFiles::open(folder.path(), kTransformersStem);
  EXPECT_EQ(value_of(*files, "x"), 2);
  EXPECT_EQ(files->variant(), "fp16");
}

TEST(CheckpointFiles, OpensShardsThroughTheirIndex) {
  const TemporaryFolder folder;
  write_floats(folder / "model-00001-of-00002.safetensors", {"a"}, 1);
  write_floats(folder / "model-00002-of-00002.safetensors", {"b"}, 2);
  folder.write("model.safetensors.index.json", kIndex);
  const auto files = CheckpointFiles::open(folder.path(), kTransformersStem);
  EXPECT_EQ(value_of(*files, "a"), 1);
  EXPECT_EQ(value_of(*files, "b"), 2);
  EXPECT_EQ(files->paths().size(), 2U);
}

TEST(CheckpointFiles, FindsEverySpellingOfAVariantsIndex) {
  for (const char* name : {"model.safetensors.index.fp16.json", "model.safetensors.fp16.index.json",
                           "model.fp16.safetensors.index.json"}) {
    const TemporaryFolder folder;
    write_floats(folder / "model-00001-of-00002.safetensors", {"a"}, 1);
    write_floats(folder / "model-00002-of-00002.safetensors", {"b"}, 2);
    folder.write(name, kIndex);
    EXPECT_EQ(value_of(*CheckpointFiles::open(folder.path(), kTransformersStem, "fp16"), "b"), 2);
  }
}

struct BadShards {
  const char* name;
  std::string index;
  const char* message;
};

class BadIndex : public ::testing::TestWithParam<BadShards> {};

TEST_P(BadIndex, IsRefusedWithItsReason) {
  const TemporaryFolder folder;
  write_floats(folder / "s1.safetensors", {"a"}, 1);
  write_floats(folder / "s2.safetensors", {"b"}, 2);
  write_floats(folder / "s3.safetensors", {"a", "c"}, 2);
  folder.write("model.safetensors.index.json", GetParam().index);
  const Error error = error_of([&] { CheckpointFiles::open(folder.path(), kTransformersStem); });
  EXPECT_THAT(error.what(), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Each, BadIndex,
    ::testing::Values(
        BadShards{"MissingShard", R"({"weight_map":{"a":"s9.safetensors"}})",
                  "'s9.safetensors' is missing"},
        BadShards{"TensorNotInShard", R"({"weight_map":{"z":"s1.safetensors"}})",
                  "'z' is not in its shard"},
        BadShards{"TensorInOtherShard",
                  R"({"weight_map":{"a":"s2.safetensors","b":"s1.safetensors"}})", "should be in"},
        BadShards{"TensorNotInIndex", R"({"weight_map":{"a":"s3.safetensors"}})",
                  "'c' of s3.safetensors is not in the index"},
        BadShards{"DuplicateAcrossShards",
                  R"({"weight_map":{"a":"s1.safetensors","c":"s3.safetensors"}})",
                  "'a' is in both"},
        BadShards{"PathOutOfTheFolder", R"({"weight_map":{"a":"../s1.safetensors"}})",
                  "cannot be a shard"},
        BadShards{"PickledShard", R"({"weight_map":{"a":"s1.bin"}})", "cannot be a shard"},
        BadShards{"NoWeightMap", R"({"metadata":{}})", "weight_map"},
        BadShards{"EmptyWeightMap", R"({"weight_map":{}})", "empty"},
        BadShards{"NumberAsShard", R"({"weight_map":{"a":1}})", "not a file name"},
        BadShards{"NotJson", "weight_map", "not valid JSON"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(CheckpointFiles, SaysWhyPicklesAreRefusedAndHowToConvertThem) {
  const TemporaryFolder folder;
  folder.write("diffusion_pytorch_model.bin", "PK");
  const Error error = error_of([&] { CheckpointFiles::open(folder.path(), kDiffusersStem); });
  EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
  EXPECT_THAT(error.what(), HasSubstr("pickle"));
  EXPECT_THAT(error.what(), HasSubstr("python3 -c"));
  EXPECT_THAT(error.what(), HasSubstr("'diffusion_pytorch_model.safetensors'"));
}

TEST(CheckpointFiles, SaysThatAFolderIsNoFileOfWeights) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "diffusion_pytorch_model.safetensors");
  const Error error = error_of([&] { CheckpointFiles::open(folder.path(), kDiffusersStem); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.what(), HasSubstr("diffusion_pytorch_model.safetensors is a folder"));
}

TEST(CheckpointFiles, NamesWhatIsThereWhenTheWantedFileIsNot) {
  const TemporaryFolder folder;
  write_floats(folder / "mm.safetensors", {"x"}, 1);
  EXPECT_THAT(error_of([&] { CheckpointFiles::open(folder.path(), kDiffusersStem); }).what(),
              HasSubstr("it has mm.safetensors"));
  EXPECT_EQ(error_of([&] { CheckpointFiles::open(folder / "none", kDiffusersStem); }).code(),
            ErrorCode::kNotFound);
}

TEST(CheckpointFiles, RefusesATensorThatTwoFilesHold) {
  const TemporaryFolder folder;
  write_floats(folder / "1.safetensors", {"x"}, 1);
  write_floats(folder / "2.safetensors", {"x"}, 2);
  EXPECT_THROW(CheckpointFiles::open_files({folder / "1.safetensors", folder / "2.safetensors"}),
               Error);
}

// A cache as the Hugging Face tools lay it out: blobs, snapshots of symbolic links, refs.
class HubCache : public ::testing::Test {
 protected:
  void SetUp() override {
    write_floats(folder_ / "blob", {"x"}, 5);
    const auto snapshot = cache_ / "snapshots" / "abc123";
    std::filesystem::create_directories(snapshot / "unet");
    std::filesystem::create_symlink(folder_ / "blob",
                                    snapshot / "unet/diffusion_pytorch_model.safetensors");
    folder_.write("hub/models--org--name/refs/main", "abc123\n");
  }
  TemporaryFolder folder_;
  std::filesystem::path cache_ = folder_ / "hub/models--org--name";
};

TEST_F(HubCache, IdPathOfTheCacheAndSnapshotAllLeadToTheSameFolder) {
  const auto snapshot = cache_ / "snapshots/abc123";
  EXPECT_EQ(find_model_folder("org/name", {.hub_home = folder_.path()}), snapshot);
  EXPECT_EQ(find_model_folder("org/name", {.hub_home = folder_ / "hub"}), snapshot);
  EXPECT_EQ(find_model_folder(cache_.string()), snapshot);
  EXPECT_EQ(find_model_folder(snapshot.string()), snapshot);
  EXPECT_EQ(find_model_folder(cache_.string(), {.hub_home = {}, .revision = "abc123"}), snapshot);
}

TEST_F(HubCache, WeightsAreReadThroughSymbolicLinks) {
  const auto files =
      CheckpointFiles::open(find_model_folder(cache_.string()) / "unet", kDiffusersStem);
  EXPECT_EQ(value_of(*files, "x"), 5);
}

TEST_F(HubCache, OnlySnapshotServesWhenThereIsNoRef) {
  std::filesystem::remove_all(cache_ / "refs");
  EXPECT_EQ(find_model_folder(cache_.string()), cache_ / "snapshots/abc123");
  std::filesystem::create_directories(cache_ / "snapshots/def");
  EXPECT_THAT(error_of([&] { find_model_folder(cache_.string()); }).what(), HasSubstr("abc123"));
}

TEST_F(HubCache, HostileRefsAndRevisionsCannotLeaveTheCache) {
  folder_.write("hub/models--org--name/refs/main", "../../..");
  EXPECT_EQ(error_of([&] { find_model_folder(cache_.string()); }).code(), ErrorCode::kCorrupt);
  EXPECT_THROW(find_model_folder(cache_.string(), {.hub_home = {}, .revision = "../x"}), Error);
  EXPECT_THROW(find_model_folder("../name", {.hub_home = folder_ / "hub"}), Error);
}

TEST_F(HubCache, UnfinishedDownloadAndUnknownModelAreExplained) {
  folder_.write("hub/models--org--name/refs/main", "fff");
  EXPECT_THAT(error_of([&] { find_model_folder(cache_.string()); }).what(), HasSubstr("'fff'"));
  const Error error = error_of([&] { find_model_folder("no/such", {.hub_home = folder_.path()}); });
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  EXPECT_THAT(error.what(), HasSubstr("hf download no/such"));
}

TEST_F(HubCache, SingleFileCheckpointIsRefusedWithTheWayToConvertIt) {
  const Error error = error_of([&] { find_model_folder((folder_ / "blob").string()); });
  EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
  EXPECT_THAT(error.what(), HasSubstr("is a file"));
}

}  // namespace
}  // namespace seamwright::model
