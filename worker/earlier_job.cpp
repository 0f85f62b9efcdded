#include "worker/earlier_job.h"

#include "base/error.h"
#include "base/sha256.h"
#include "media/metadata.h"

namespace seamwright::worker {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// A member of the sidecar; a sidecar is a file that anyone may have changed.
template <class T>
T member(const Json& object, const char* name, const T& otherwise) {
  const auto found = object.find(name);
  if (found == object.end()) return otherwise;
  try {
    return found->get<T>();
  } catch (const Json::exception&) {
    return otherwise;
  }
}

const Json& object_of(const Json& sidecar, const char* name) {
  static const Json kNone = Json::object();
  const auto found = sidecar.find(name);
  return found != sidecar.end() && found->is_object() ? *found : kNone;
}

std::string hash_of_model(const Json& sidecar) {
  const auto models = sidecar.find("models");
  if (models == sidecar.end() || !models->is_array() || models->size() != 1) return "";
  return models->front().is_object() ? member<std::string>(models->front(), "sha256", "") : "";
}

}  // namespace

bool is_sidecar(const std::string& file) { return fs::path(file).extension() == ".json"; }

EarlierJob read_earlier_job(const fs::path& sidecar) {
  const auto json = media::read_sidecar(sidecar);
  const auto& request = json.at("request");
  const auto& result = object_of(json, "result");
  EarlierJob job;
  job.sidecar = sidecar;
  job.latents_sha256 = member<std::string>(result, "latents_sha256", "");
  job.model_sha256 = hash_of_model(json);
  job.frames = member<std::int64_t>(result, "frames", member<std::int64_t>(request, "frames", 0));
  job.fps = member<double>(request, "fps", 0);
  job.width = member<int>(request, "width", 0);
  job.height = member<int>(request, "height", 0);
  require(job.frames >= 1 && job.frames <= kMaxFrames,
          "{} does not say how many frames its video has", sidecar.string());

  std::error_code ignored;
  auto video = sidecar;
  video.replace_extension();  // FILE.mp4.json lies beside FILE.mp4
  const bool folder = fs::is_directory(video, ignored);
  if (fs::is_regular_file(video, ignored)) job.video = video;
  const fs::path latents = member<std::string>(result, "latents_file", "");
  if (!latents.empty()) {
    const auto file = sidecar.parent_path() / latents;  // an absolute name stays one
    if (fs::is_regular_file(file, ignored)) job.latents = file;
  }
  require(
      !job.video.empty() || !job.latents.empty(),
      "{} is there, but nothing to start from: {} is {}, and {}; give the video itself, or keep "
      "latents with --latents-out",
      sidecar.string(), video.string(),
      folder ? "a folder of pictures, which is no input video" : "gone",
      latents.empty() ? "no latents were kept"
                      : fmt::format("the latents in {} are gone", latents.string()));
  return job;
}

media::VideoInfo info_of_input(const std::string& file) {
  if (!is_sidecar(file)) return media::probe_video(file);
  const auto job = read_earlier_job(file);
  if (!job.video.empty()) return media::probe_video(job.video);
  media::VideoInfo info;
  info.frames = job.frames;
  info.fps = job.fps;
  if (job.fps > 0) info.duration_s = static_cast<double>(job.frames) / job.fps;
  info.width = job.width;
  info.height = job.height;
  return info;
}

fs::path video_of_input(const std::string& file) {
  if (!is_sidecar(file)) return file;
  const auto job = read_earlier_job(file);
  require(
      !job.video.empty(),
      "the video of {} is gone, and its latents alone will not do: they serve the same model at "
      "the same size, without input_fps",
      file);
  return job.video;
}

KeptLatents::KeptLatents(const EarlierJob& job, std::size_t frame_size)
    : file_(job.latents), frame_size_(frame_size) {
  const auto* tensor = file_.find("latents");
  const auto wanted = static_cast<std::size_t>(job.frames) * frame_size * sizeof(float);
  if (tensor == nullptr || tensor->type != model::DType::kF32 || tensor->bytes.size() != wanted) {
    fail(ErrorCode::kCorrupt, "{} does not hold the latents of the {} frames that {} speaks of",
         job.latents.string(), job.frames, job.sidecar.string());
  }
  frames_ = job.frames;
  values_ = reinterpret_cast<const float*>(tensor->bytes.data());
  Sha256 all;
  for (std::int64_t f = 0; f < frames_; ++f) {
    const auto digest = sha256(std::as_bytes(frame(f)));
    all.update(std::as_bytes(std::span(digest)));
  }
  if (to_hex(all.finish()) != job.latents_sha256) {
    fail(ErrorCode::kCorrupt,
         "{} does not hold the latents that {} speaks of (their hash differs): remove it, and the "
         "video is encoded instead",
         job.latents.string(), job.sidecar.string());
  }
}

std::span<const float> KeptLatents::frame(std::int64_t index) const {
  ensure(index >= 0 && index < frames_, "kept latent {} of {}", index, frames_);
  return {values_ + static_cast<std::size_t>(index) * frame_size_, frame_size_};
}

std::optional<KeptLatents> kept_latents(const std::string& file, const JobRequest& r,
                                        const std::string& model_sha256, std::size_t frame_size) {
  if (!is_sidecar(file)) return std::nullopt;
  const auto job = read_earlier_job(file);
  const bool same = !job.latents.empty() && job.model_sha256 == model_sha256 &&
                    job.width == r.width && job.height == r.height && r.input_fps == 0;
  if (!same) return std::nullopt;
  return std::make_optional<KeptLatents>(job, frame_size);
}

}  // namespace seamwright::worker
