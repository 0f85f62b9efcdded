#include "model/checkpoint_files.h"

#include <array>
#include <set>

#include "base/error.h"
#include "base/quoted.h"
#include "model/config_json.h"
#include "model/files/pickle.h"

namespace seamwright::model {
namespace {

namespace fs = std::filesystem;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// The spellings of a variant's index that diffusers and transformers have written over time.
std::vector<std::string> index_names(std::string_view stem, std::string_view variant) {
  if (variant.empty()) return {fmt::format("{}.safetensors.index.json", stem)};
  return {fmt::format("{}.safetensors.index.{}.json", stem, variant),
          fmt::format("{}.safetensors.{}.index.json", stem, variant),
          fmt::format("{}.{}.safetensors.index.json", stem, variant)};
}

struct Found {
  fs::path single;  // one of the two is set
  fs::path index;
  std::string variant;
};

std::optional<Found> look(const fs::path& folder, std::string_view stem, std::string_view variant) {
  const std::string dotted = variant.empty() ? std::string() : fmt::format(".{}", variant);
  const fs::path single = folder / fmt::format("{}{}.safetensors", stem, dotted);
  if (is_file(single)) return Found{single, {}, std::string(variant)};
  for (const std::string& name : index_names(stem, variant)) {
    if (is_file(folder / name)) return Found{{}, folder / name, std::string(variant)};
  }
  return std::nullopt;
}

// Explains why nothing was found: no folder, pickled weights only, or another variant.
[[noreturn]] void explain_absence(const fs::path& folder, std::string_view stem,
                                  std::string_view variant) {
  std::error_code error;
  std::set<std::string> pickles;
  std::set<std::string> others;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string extension = it->path().extension().string();
    const std::string name = it->path().filename().string();
    if (extension == ".bin" || extension == ".ckpt" || extension == ".pt" || extension == ".pth") {
      pickles.insert(name);
    } else if (name.find(".safetensors") != std::string::npos) {
      others.insert(name);
    }
  }
  if (error) {
    fail(ErrorCode::kNotFound, "cannot read the model folder {}: {}", folder.string(),
         error.message());
  }
  const std::string wanted =
      fmt::format("{}{}{}.safetensors", stem, variant.empty() ? "" : ".", variant);
  if (others.contains(wanted)) {
    fail(ErrorCode::kInvalidArgument, "{} is {}, but must be a safetensors file",
         (folder / wanted).string(),
         fs::is_directory(folder / wanted) ? "a folder" : "no ordinary file");
  }
  if (!others.empty()) {
    fail(ErrorCode::kNotFound, "{} has no weights named {}; it has {}", folder.string(), wanted,
         fmt::join(others, ", "));
  }
  if (!pickles.empty()) {
    const std::string& from = *pickles.begin();
    fail(ErrorCode::kUnsupported,
         "{0} has only {1}: a Python pickle can run any code when it is opened, so it is not read. "
         "Convert it once, in Python with torch and safetensors:\n{2}",
         folder.string(), from, conversion_command(from, fmt::format("{}.safetensors", stem)));
  }
  fail(ErrorCode::kNotFound, "{} holds no weights: expected {}.safetensors or its shards",
       folder.string(), stem);
}

struct ShardIndex {
  std::map<std::string, std::string> weight_map;
  std::set<std::string> shards;
};

ShardIndex read_index(const fs::path& path) {
  const Json index = read_json_file(path, {.max_bytes = 64U << 20, .max_depth = 8});
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    fail(ErrorCode::kCorrupt, "{}: a shard index needs an object named weight_map", path.string());
  }
  ShardIndex result;
  for (const auto& [name, file] : index["weight_map"].items()) {
    if (!file.is_string()) {
      fail(ErrorCode::kCorrupt, "{}: the shard of tensor {} is not a file name", path.string(),
           in_quotes(name));
    }
    const auto& shard = file.get_ref<const std::string&>();
    if (shard.find('/') != std::string::npos || !shard.ends_with(".safetensors")) {
      fail(shard.ends_with(".bin") ? ErrorCode::kUnsupported : ErrorCode::kCorrupt,
           "{}: {} cannot be a shard: shards are .safetensors files beside the index",
           path.string(), in_quotes(shard));
    }
    result.weight_map.emplace(name, shard);
    result.shards.insert(shard);
  }
  if (result.shards.empty()) fail(ErrorCode::kCorrupt, "{}: weight_map is empty", path.string());
  for (const std::string& shard : result.shards) {
    if (!is_file(path.parent_path() / shard)) {
      fail(ErrorCode::kNotFound, "{}: shard {} is missing: the download did not finish; fetch it",
           path.string(), in_quotes(shard));
    }
  }
  return result;
}

}  // namespace

std::unique_ptr<CheckpointFiles> CheckpointFiles::open(const fs::path& folder,
                                                       std::string_view stem,
                                                       std::string_view variant) {
  require(variant.find('/') == std::string_view::npos, "{} is no variant's name",
          in_quotes(variant));
  auto found = look(folder, stem, variant);
  if (!found && variant.empty()) found = look(folder, stem, "fp16");
  if (!found) explain_absence(folder, stem, variant);

  std::unique_ptr<CheckpointFiles> result(new CheckpointFiles);
  result->variant_ = found->variant;
  if (!found->single.empty()) {
    result->description_ = found->single.string();
    result->add_file(found->single);
    return result;
  }
  result->description_ = found->index.string();
  const ShardIndex index = read_index(found->index);
  for (const std::string& shard : index.shards) result->add_file(folder / shard);
  result->check_index(index.weight_map, found->index);
  return result;
}

std::unique_ptr<CheckpointFiles> CheckpointFiles::open_files(const std::vector<fs::path>& files) {
  require(!files.empty(), "no weight file was given");
  std::unique_ptr<CheckpointFiles> result(new CheckpointFiles);
  result->description_ = files.front().string();
  for (const fs::path& file : files) result->add_file(file);
  return result;
}

void CheckpointFiles::add_file(const fs::path& path) {
  auto file = std::make_unique<SafetensorsFile>(path);
  for (const StoredTensor& tensor : file->tensors()) {
    const auto [at, fresh] = entries_.emplace(tensor.name, Entry{&tensor, files_.size()});
    if (!fresh) {
      fail(ErrorCode::kCorrupt, "tensor {} is in both {} and {}", in_quotes(tensor.name),
           paths_[at->second.file].string(), path.string());
    }
  }
  paths_.push_back(path);
  files_.push_back(std::move(file));
}

void CheckpointFiles::check_index(const std::map<std::string, std::string>& weight_map,
                                  const fs::path& index) const {
  for (const auto& [name, shard] : weight_map) {
    const auto found = entries_.find(name);
    if (found == entries_.end()) {
      fail(ErrorCode::kCorrupt, "{}: tensor {} is not in its shard {}", index.string(),
           in_quotes(name), in_quotes(shard));
    }
    const fs::path& actual = paths_[found->second.file];
    if (actual.filename() != shard) {
      fail(ErrorCode::kCorrupt, "{}: tensor {} should be in {}, but is in {}", index.string(),
           in_quotes(name), in_quotes(shard), actual.filename().string());
    }
  }
  for (const auto& [name, entry] : entries_) {
    if (!weight_map.contains(std::string(name))) {
      fail(ErrorCode::kCorrupt, "{}: tensor {} of {} is not in the index", index.string(),
           in_quotes(name), paths_[entry.file].filename().string());
    }
  }
}

std::optional<ConstView> CheckpointFiles::find(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return std::nullopt;
  return found->second.tensor->view();
}

std::vector<std::string> CheckpointFiles::names() const {
  std::vector<std::string> out;
  out.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) out.emplace_back(name);
  return out;
}

std::size_t CheckpointFiles::total_bytes() const {
  std::size_t total = 0;
  for (const auto& [name, entry] : entries_) total += entry.tensor->bytes.size();
  return total;
}

}  // namespace seamwright::model
