#include "worker/recovery.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>

#include "base/error.h"
#include "scheduling/needs.h"
#include "worker/gang_mail.h"

namespace seamwright::worker {
namespace {

using Json = nlohmann::json;

// Checkpoints may take this share of the time.
constexpr double kShare = 0.05;
// Of links and disks that are not measured: slow ones.
constexpr double kBytesPerSecond = 100e6;

std::string file_hash(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(ErrorCode::kNotFound, "cannot open {}", path.string());
  Sha256 hash;
  std::vector<char> buffer(std::size_t{1} << 20U);
  while (file) {
    file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    hash.update(std::string_view(buffer.data(), static_cast<std::size_t>(file.gcount())));
  }
  return to_hex(hash.finish());
}

}  // namespace

void check_resumable(const GenerateOptions& options) {
  require(options.out.empty() || media::format_for_path(options.out) == media::VideoFormat::kMp4,
          "a video that can be resumed is written as .mp4, not as {}; or use --no-video",
          options.out.string());
  require(!options.latents_out,
          "--latents-out holds all latents until the end, so it cannot be "
          "used with --resume");
  require(options.checkpoint_steps >= -1,
          "the steps between checkpoints are {}: 0 for none, or 1 "
          "and more",
          options.checkpoint_steps);
  require(options.segment_frames >= 1, "a segment has {} frames, but needs 1 at least",
          options.segment_frames);
}

DurableIdentity identity_of(const GenerateOptions& options, const Job& job,
                            const std::string& model_hash, const std::string& numerics) {
  DurableIdentity identity;
  auto request = to_json(job.request);
  // Neither changes what is made; a model is its content, wherever it lies.
  for (const char* name : {"order", "device", "model", "motion_adapter", "vae", "tokenizer", "lora",
                           "init_image", "input_video", "extend"}) {
    request.erase(name);
  }
  for (auto& keyframe : request.at("keyframes")) keyframe.erase("file");
  identity.parts = {{"request", request}, {"model", model_hash}, {"numerics", numerics}};
  if (job.given) identity.parts["given_frames"] = job.given->hash();
  // Named only where it holds, so that jobs begun before there was a choice still continue.
  if (job.given && job.clean_known_frames) identity.parts["known_frames"] = "clean";
  if (job.schedule.around_holes()) identity.parts["windows"] = "around holes";
  for (const auto& [name, path] : {std::pair("latents_in", options.tensors.latents_in),
                                   std::pair("noise_in", options.tensors.noise_in)}) {
    if (path) identity.parts[name] = file_hash(*path);
  }
  identity.parts["video"] = {{"written", !options.out.empty()},
                             {"segment_frames", segment_length(job, options.segment_frames)},
                             {"ai_mark", options.mark_ai_generated}};
  return identity;
}

int choose_checkpoint_interval(int wish, const Job& job, const GangPlan& plan, double write_s) {
  if (wish >= 0) return std::min(wish, job.steps());
  const auto& r = plan.request.windows;
  const double frames = std::min(r.window - r.overlap, r.frames);
  const auto bytes = static_cast<double>(plan.costs.sizes.state_frame_bytes());
  const double records = job.causal() ? 1 : frames;
  const double step_s = std::accumulate(plan.costs.visit_s.begin(), plan.costs.visit_s.end(), 0.0) *
                        job.branches * plan.request.rounds / plan.layout.groups;
  const double cost_s = records * write_s + frames * bytes / kBytesPerSecond;
  const double interval = std::ceil(cost_s / (kShare * std::max(step_s, 1e-9)));
  return static_cast<int>(std::clamp(interval, 1.0, static_cast<double>(job.steps())));
}

int interval_beside(const DurableState& left, int wish) {
  return wish == 0 || left.checkpoint_interval <= 0 ? wish : left.checkpoint_interval;
}

Recovery share_recovery(const Recovery& own, comm::Fabric* fabric) {
  if (fabric == nullptr) return own;
  GangMail mail;
  mail.kind = MailKind::kDurable;
  for (const auto& [at, level] : own.resume.records) mail.keys.push_back({at, level});
  mail.numbers = {own.kept ? 1 : 0, own.attempt, own.checkpoint_interval,
                  own.resume.first_missing_frame};
  auto bytes = encode(mail);
  fabric->broadcast(0, bytes);
  if (fabric->rank() == 0) return own;
  const auto got = decode_gang_mail(bytes);
  Recovery recovery;
  recovery.kept = got.numbers.at(0) != 0;
  recovery.attempt = got.numbers.at(1);
  recovery.checkpoint_interval = static_cast<int>(got.numbers.at(2));
  recovery.resume.first_missing_frame = static_cast<int>(got.numbers.at(3));
  for (const auto& key : got.keys) recovery.resume.records.emplace(key.at, key.level);
  return recovery;
}

std::int64_t evaluations_left(const scheduling::PlanRequest& request,
                              const scheduling::ResumeState& resume) {
  if (resume.first_missing_frame >= request.windows.frames) return 0;
  const scheduling::WindowSchedule schedule(request.windows);
  std::int64_t windows = 0;
  const auto count = [&](const auto& needs) {
    for (int step = 0; step < request.steps; ++step) {
      for (int w = 0; w < schedule.window_count(step); ++w)
        windows += needs.window(step, w) ? 1 : 0;
    }
  };
  if (request.coherence == scheduling::Coherence::kCausal) {
    count(scheduling::CausalNeeds(request, schedule, resume));
  } else {
    count(scheduling::LocalNeeds(request, schedule, resume));
  }
  return windows * request.branches * request.rounds;
}

std::int64_t segment_length(const Job& job, int wish) {
  const std::int64_t grid = job.decode_chunk;
  return (wish + grid - 1) / grid * grid;
}

}  // namespace seamwright::worker
