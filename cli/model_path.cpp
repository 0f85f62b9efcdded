#include "cli/model_path.h"

#include <cstdlib>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "model/files/pickle.h"
#include "model/model_folder.h"

namespace seamwright::cli {
namespace fs = std::filesystem;

std::vector<fs::path> model_roots() {
  std::vector<fs::path> roots;
  if (const char* env = std::getenv("SEAMWRIGHT_MODELS"); env != nullptr && *env != '\0') {
    roots.emplace_back(env);
  }
  std::error_code error;
  const auto program = fs::read_symlink("/proc/self/exe", error);
  if (!error) {
    const auto folder = program.parent_path();
    roots.push_back(folder / "../share/seamwright/models");
    roots.push_back(folder / "../models");
  }
  return roots;
}

fs::path find_model(const std::string& model) {
  const std::string name = model.empty() ? "demo" : model;
  if (std::error_code ignored; fs::is_regular_file(name, ignored)) {
    model::refuse_other_formats(name);
    return name;
  }
  const bool plain_name = name.find('/') == std::string::npos;
  std::string looked;
  if (plain_name || name.starts_with("demo/")) {
    for (const auto& root : model_roots()) {
      std::error_code error;
      const auto folder = fs::weakly_canonical(root / name, error);
      if (!error && fs::is_directory(folder, error)) return folder;
      const fs::path file = folder.string() + ".safetensors";
      if (fs::is_regular_file(file, error)) return file;
      looked += "\n  " + (root / name).lexically_normal().string();
    }
  }
  model::ModelSearch search;
  if (const char* home = std::getenv("HF_HOME"); home != nullptr && *home != '\0') {
    search.hub_home = home;
  } else if (const char* user = std::getenv("HOME"); user != nullptr) {
    search.hub_home = fs::path(user) / ".cache/huggingface";
  }
  try {
    return model::find_model_folder(name, search);
  } catch (const Error& error) {
    if (looked.empty()) throw;
    throw Error(error.code(),
                std::string(error.what()) + "\nAlso looked for the name in:" + looked);
  }
}

fs::path clip_tokenizer() {
  for (const auto& root : model_roots()) {
    std::error_code error;
    const auto folder = fs::weakly_canonical(root / "clip-tokenizer", error);
    if (!error && fs::is_directory(folder, error)) return folder;
  }
  return {};
}

}  // namespace seamwright::cli
