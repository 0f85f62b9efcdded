// Finds a model's folder: a path, or a snapshot inside the Hugging Face cache layout.
// Threads: pure but for reading the file system.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace seamwright::model {

struct ModelSearch {
  // The Hugging Face home (its `hub` folder holds models--org--name), or the hub folder itself.
  // The caller reads HF_HOME; this library reads no environment.
  std::optional<std::filesystem::path> hub_home;
  std::string revision = "main";  // a branch or tag (refs/<revision>) or a snapshot's name
};

// `model` is one of
//   - a folder that holds the model (model_index.json, or config.json for a single part),
//   - a cache folder `models--org--name` (refs/ and snapshots/),
//   - an id `org/name`, looked up below search.hub_home.
// Throws kNotFound saying where it looked and what to do.
std::filesystem::path find_model_folder(std::string_view model, const ModelSearch& search = {});

}  // namespace seamwright::model
