#include "model/model_folder.h"

#include <algorithm>
#include <fstream>
#include <vector>

#include "base/error.h"
#include "base/quoted.h"

namespace seamwright::model {
namespace {

namespace fs = std::filesystem;

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

// Names come from files and requests: one component, never a way out of the folder.
bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

bool is_cache_folder(const fs::path& folder) { return is_folder(folder / "snapshots"); }

// refs/<revision> holds the name of the snapshot; absent for a revision given as a snapshot's name.
std::string snapshot_name(const fs::path& cache, const std::string& revision) {
  std::ifstream ref(cache / "refs" / revision);
  if (!ref) return revision;
  std::string name;
  name.resize(256);
  ref.read(name.data(), static_cast<std::streamsize>(name.size()));
  name.resize(static_cast<std::size_t>(ref.gcount()));
  while (!name.empty() && (name.back() == '\n' || name.back() == '\r' || name.back() == ' ')) {
    name.pop_back();
  }
  if (!is_plain_name(name)) {
    fail(ErrorCode::kCorrupt, "{} does not hold the name of a snapshot: {}",
         (cache / "refs" / revision).string(), in_quotes(name));
  }
  return name;
}

std::vector<fs::path> snapshots_of(const fs::path& cache) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(cache / "snapshots", error), end; !error && it != end;
       it.increment(error)) {
    if (is_folder(it->path())) found.push_back(it->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

fs::path snapshot_in(const fs::path& cache, const std::string& revision) {
  require(is_plain_name(revision), "a model revision is one name, not {}", in_quotes(revision));
  const fs::path wanted = cache / "snapshots" / snapshot_name(cache, revision);
  if (is_folder(wanted)) return wanted;
  const auto snapshots = snapshots_of(cache);
  // A cache filled by commit hash has no refs/main; one snapshot is then the only possible meaning.
  if (revision == "main" && snapshots.size() == 1 && !fs::exists(cache / "refs" / "main")) {
    return snapshots.front();
  }
  std::string names;
  for (const fs::path& snapshot : snapshots) names += "\n  " + snapshot.filename().string();
  fail(ErrorCode::kNotFound, "{} has no snapshot {} for revision {}; it has {}{}", cache.string(),
       in_quotes(wanted.filename().string()), in_quotes(revision),
       snapshots.empty() ? "none: the download did not finish" : "these:", names);
}

// org/name -> models--org--name below the home's hub folder, or below the hub folder itself.
std::optional<fs::path> cache_of_id(std::string_view id, const fs::path& home) {
  const auto slash = id.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto org = id.substr(0, slash);
  const auto name = id.substr(slash + 1);
  if (!is_plain_name(org) || !is_plain_name(name)) return std::nullopt;
  const std::string folder = fmt::format("models--{}--{}", org, name);
  for (const fs::path& hub : {home / "hub", home}) {
    if (is_cache_folder(hub / folder)) return hub / folder;
  }
  return std::nullopt;
}

}  // namespace

fs::path find_model_folder(std::string_view model, const ModelSearch& search) {
  require(!model.empty() && model.find('\0') == std::string_view::npos,
          "a model is a folder or an id such as org/name, not {}", in_quotes(model));
  const fs::path path(model);
  if (is_folder(path)) {
    return is_cache_folder(path) ? snapshot_in(path, search.revision) : path;
  }
  std::error_code ignored;
  if (fs::exists(path, ignored)) {
    fail(ErrorCode::kUnsupported,
         "{} is a file, but a folder in the diffusers layout (model_index.json, unet/, vae/, ...) "
         "is "
         "needed here",
         in_quotes(model));
  }
  if (search.hub_home) {
    if (const auto cache = cache_of_id(model, *search.hub_home)) {
      return snapshot_in(*cache, search.revision);
    }
  }
  fail(ErrorCode::kNotFound,
       "no model at {}: there is no such folder{}. Give the path of a folder in the diffusers "
       "layout, or fetch the model first (hf download {})",
       in_quotes(model),
       search.hub_home ? ", and none of that name in the cache " + search.hub_home->string()
                       : std::string(" and no Hugging Face cache to look in"),
       model.find('/') != std::string_view::npos && path.is_relative() ? model : "org/name");
}

}  // namespace seamwright::model
