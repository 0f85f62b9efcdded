// The weight files of one part of a model, as one map from name to tensor: a single file, its
// `fp16` variant, or shards with their index.
// Threads: immutable after opening; may be shared.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/safetensors.h"
#include "model/weights.h"

namespace seamwright::model {

// File stems of the diffusers layout: most parts use the first, text and image encoders the second.
inline constexpr std::string_view kDiffusersStem = "diffusion_pytorch_model";
inline constexpr std::string_view kTransformersStem = "model";

class CheckpointFiles final : public WeightSource {
 public:
  // Opens `<stem>[.variant].safetensors`, or the shards that `<stem>.safetensors.index[.variant]
  // .json` lists. With an empty variant the plain file is preferred, then `fp16`. Throws kNotFound,
  // kUnsupported when only pickled weights are there, kCorrupt when an index and its shards differ.
  static std::unique_ptr<CheckpointFiles> open(const std::filesystem::path& folder,
                                               std::string_view stem,
                                               std::string_view variant = {});
  // The same for files named one by one, in any order (tests, motion modules kept as a file).
  static std::unique_ptr<CheckpointFiles> open_files(
      const std::vector<std::filesystem::path>& files);

  std::optional<ConstView> find(std::string_view name) const override;
  std::vector<std::string> names() const override;  // ascending
  std::string description() const override { return description_; }

  const std::vector<std::filesystem::path>& paths() const { return paths_; }
  const std::string& variant() const { return variant_; }  // the one found; empty for plain files
  std::size_t total_bytes() const;
  const std::map<std::string, std::string>& metadata() const { return files_.front()->metadata(); }

 private:
  CheckpointFiles() = default;
  void add_file(const std::filesystem::path& path);
  void check_index(const std::map<std::string, std::string>& weight_map,
                   const std::filesystem::path& index) const;

  struct Entry {
    const StoredTensor* tensor;
    std::size_t file;
  };

  std::string description_;
  std::string variant_;
  std::vector<std::filesystem::path> paths_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string_view, Entry, std::less<>> entries_;
};

}  // namespace seamwright::model
