#include "worker/job.h"

#include <algorithm>

#include "base/error.h"
#include "scheduling/needs.h"

namespace seamwright::worker {
namespace {

constexpr int kDefaultWindow = 16;
constexpr int kDefaultOverlap = 8;
constexpr int kDefaultSteps = 25;
constexpr double kDefaultGuidance = 7.5;

void resolve_size(JobRequest& r, const model::VideoModel& model, LatentShape& latent) {
  const auto scale = model.codec().scale();
  if (r.width == 0 || r.height == 0) {
    r.width = static_cast<int>(model.defaults().latent_width * scale);
    r.height = static_cast<int>(model.defaults().latent_height * scale);
  }
  require(r.width % scale == 0 && r.height % scale == 0,
          "size {}x{} does not fit this model: width and height must be multiples of {}; try {}x{}",
          r.width, r.height, scale,
          std::max<std::int64_t>(1, (r.width + scale / 2) / scale) * scale,
          std::max<std::int64_t>(1, (r.height + scale / 2) / scale) * scale);
  latent = {model.denoiser().in_channels(), r.height / scale, r.width / scale};
}

void resolve_windows(JobRequest& r, const model::VideoModel& model) {
  const auto& known = model.defaults().known_frames;  // nothing where no frame is known
  if (r.window == 0) r.window = known.window > 0 ? known.window : kDefaultWindow;
  require(r.overlap < r.window,
          "overlap is {}, but windows of {} frames, the default here, share at most {}: give a "
          "smaller overlap or a larger window",
          r.overlap, r.window, r.window - 1);
  if (r.overlap < 0) r.overlap = known.overlap;
  const auto limit = model.denoiser().max_window();
  require(limit <= 0 || r.window <= limit,
          "window is {}, but this model's motion modules take at most {} frames", r.window, limit);
  if (r.overlap < 0) r.overlap = model.defaults().overlap;
  if (r.overlap < 0 || r.overlap >= r.window) r.overlap = std::min(kDefaultOverlap, r.window / 2);
}

// Streaming in local mode finishes early frames before late ones are started; with more than half
// a window shared, a window has several later neighbours and the wavefront is wide.
void resolve_order(JobRequest& r) {
  const bool possible =
      r.coherence == "causal" || (r.window_schedule == "static" && 2 * r.overlap <= r.window);
  if (r.order == "auto") r.order = possible ? "streaming" : "throughput";
  require(r.order != "streaming" || possible,
          "order streaming with coherence local needs an overlap of at most half the window ({}), "
          "not {}; use order throughput or coherence causal",
          r.window / 2, r.overlap);
}

std::string name_of(const model::SamplerConfig& config) {
  switch (config.kind) {
    case model::SamplerKind::kDdim:
      return "ddim";
    case model::SamplerKind::kEuler:
      return "euler";
    case model::SamplerKind::kEulerAncestral:
      return "euler_a";
    case model::SamplerKind::kDpmPp2m:
      return config.karras ? "dpm++_2m_karras" : "dpm++_2m";
    case model::SamplerKind::kLcm:
      return "lcm";
  }
  return "";
}

// A network that reads known frames without noise sees them alike at every visit; where their noise
// is drawn anew, and where windows follow each other, a second visit brings the others closer.
int default_rounds(const JobRequest& r, const model::ModelDefaults& defaults) {
  return r.coherence == "local" && defaults.known_frames.clean ? 1 : 2;
}

// Video to video starts at a later step. Known frames want every level several times: in causal
// mode its own rounds do that, in local mode the sampler's steps.
std::unique_ptr<const model::Sampler> make_job_sampler(const model::SamplerConfig& config,
                                                       const JobRequest& r) {
  if (is_video_to_video(r)) {
    return model::from_first_step(
        model::make_sampler(config, r.steps, model::first_step_for_strength(r.steps, r.strength)));
  }
  auto sampler = model::make_sampler(config, r.steps);
  if (!has_known_frames(r) || r.coherence == "causal" || r.resample == 1) return sampler;
  return model::with_rounds(std::move(sampler), r.resample);
}

scheduling::WindowRequest window_request(const JobRequest& r, const model::VideoModel& model) {
  scheduling::WindowRequest w;
  w.frames = static_cast<int>(r.frames);
  w.window = r.window;
  w.overlap = r.overlap;
  w.schedule = scheduling::parse_schedule(r.window_schedule);
  w.stride = r.context_stride;
  w.window_limit = static_cast<int>(model.denoiser().max_window());
  if (has_known_frames(r) && !is_video_to_video(r)) w.given = known_frames(r);
  w.around_holes = scheduling::parse_coherence(r.coherence) == scheduling::Coherence::kLocal;
  return w;
}

}  // namespace

std::int64_t Job::evaluations() const {
  return scheduling::windows_to_denoise(schedule, steps()) * branches *
         (causal() ? request.resample : 1);
}

Job resolve(JobRequest r, const model::VideoModel& model, const TensorFiles& files) {
  validate(r);
  LatentShape latent;
  resolve_size(r, model, latent);
  resolve_windows(r, model);
  resolve_order(r);
  const auto& defaults = model.defaults();
  if (r.steps == 0) r.steps = defaults.steps > 0 ? defaults.steps : kDefaultSteps;
  if (r.guidance < 0 && r.strength < 1) r.guidance = defaults.video_guidance;
  if (r.guidance < 0) r.guidance = defaults.known_frames.guidance;
  if (r.guidance < 0) r.guidance = defaults.guidance > 0 ? defaults.guidance : kDefaultGuidance;
  if (r.sampler.empty()) r.sampler = defaults.sampler;
  if (r.resample == 0) r.resample = default_rounds(r, defaults);
  const auto config = model::read_sampler_config(model.scheduler_config(), r.sampler);
  r.sampler = name_of(config);
  auto sampler = make_job_sampler(config, r);

  const auto windows = window_request(r, model);
  scheduling::validate(windows);
  NoiseOptions noise;
  noise.seed = r.seed;
  noise.frames = r.frames;
  noise.channels = latent.channels;
  noise.height = latent.height;
  noise.width = latent.width;
  noise.freenoise = r.noise == "freenoise";
  noise.window = r.window;
  noise.stride = std::min(noise.stride, r.window);
  noise.latents_in = files.latents_in;
  noise.noise_in = files.noise_in;

  const auto pixels = static_cast<std::int64_t>(r.width) * r.height;
  return Job{
      .request = r,
      .latent = latent,
      .decode_chunk = std::clamp<std::int64_t>(model.codec().pixels_at_once() / pixels, 1, 16),
      .branches = r.guidance > 1 ? 2 : 1,
      .sampler = std::move(sampler),
      .schedule = scheduling::WindowSchedule(windows),
      .fusion = scheduling::parse_fusion(r.fuse),
      .noise = NoiseSource(noise),
      .prompts = parse_prompt_schedule(r.prompt, r.frames),
      .clean_known_frames = defaults.known_frames.clean};
}

}  // namespace seamwright::worker
