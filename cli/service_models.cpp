#include "cli/service_models.h"

#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <tuple>

#include "base/error.h"
#include "base/request_fields.h"
#include "cli/model_path.h"
#include "cli/service_inputs.h"
#include "model/dry/dry_backend.h"
#include "model/video_model.h"
#include "worker/job.h"

namespace seamwright::cli {
namespace {

namespace fs = std::filesystem;

bool is_model(const fs::path& folder) {
  std::error_code error;
  return fs::exists(folder / "model_index.json", error);
}

void add_unique(std::vector<std::string>& names, const std::string& name) {
  if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : " ") + name;
  return text.empty() ? "(none)" : text;
}

}  // namespace

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const auto& root : model_roots()) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(root, error)) {
      if (!is_model(entry.path())) continue;
      const auto name = entry.path().filename().string();
      add_unique(names, name);
      if (name != "demo") continue;
      std::error_code inner;
      for (const auto& variant : fs::directory_iterator(entry.path(), inner)) {
        if (is_model(variant.path())) {
          add_unique(names, name + "/" + variant.path().filename().string());
        }
      }
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

struct ServiceModels::State {
  // A model without weights: enough to know its limits and defaults.
  struct Outline {
    std::unique_ptr<model::Backend> backend;
    std::unique_ptr<model::VideoModel> model;
  };

  static Outline outline_of(const fs::path& folder, bool per_frame_motion_norm, bool known_frames) {
    Outline outline;
    outline.backend = model::make_dry_backend();
    model::LoadOptions load;
    load.model = folder;
    load.per_frame_motion_norm = per_frame_motion_norm;
    load.known_frames = known_frames;
    load.parts = {model::Part::kDenoiser, model::Part::kCodec};
    load.blocks = {{0, 0}};
    outline.model = model::VideoModel::load(load, *outline.backend);
    return outline;
  }

  std::vector<std::string> names = model_names();
  std::mutex mutex;
  std::map<std::tuple<std::string, bool, bool>, Outline> outlines;
};

ServiceModels::ServiceModels() : state_(std::make_unique<State>()) {}
ServiceModels::~ServiceModels() = default;

JobRequest ServiceModels::check(const JobRequest& asked, bool as_long_as_input) {
  JobRequest request = asked;
  if (request.model.empty()) request.model = "demo";
  const auto& names = state_->names;
  if (std::find(names.begin(), names.end(), request.model) == names.end()) {
    fail(ErrorCode::kNotFound, "model is '{}', but this service has: {}", request.model,
         joined(names));
  }
  const auto given = to_json(request), defaults = to_json(JobRequest{});
  for (const auto& field : job_request_fields()) {
    if (!field.local || field.name == "model") continue;
    const std::string name(field.name);
    require(given.value(name, nlohmann::json()) == defaults.value(name, nlohmann::json()),
            "{} names files of this machine, which a service does not open for its clients", name);
  }
  require(!request.prompt.empty(), "prompt is empty: say what the video shows");
  check_inputs(request, as_long_as_input);
  const bool per_frame = request.motion_norm == "per-frame";
  const bool known = has_known_frames(request);
  {
    const std::lock_guard lock(state_->mutex);
    auto& outline = state_->outlines[{request.model, per_frame, known}];
    if (!outline.model) outline = State::outline_of(find_model(request.model), per_frame, known);
    request = worker::resolve(request, *outline.model, {}).request;
  }
  check_lengths(request);
  return request;
}

nlohmann::json ServiceModels::list() const {
  auto list = nlohmann::json::array();
  for (const auto& name : state_->names) {
    struct stat about {};
    const auto folder = find_model(name);
    const auto index = folder / "model_index.json";
    const bool known = ::stat(index.c_str(), &about) == 0;
    list.push_back({{"id", name},
                    {"object", "model"},
                    {"created", known ? static_cast<std::int64_t>(about.st_mtime) : 0},
                    {"owned_by", "seamwright"},
                    {"default", name == "demo"}});
  }
  return list;
}

}  // namespace seamwright::cli
