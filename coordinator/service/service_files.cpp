// Segments as they come, the video they make, and how long files are kept.
#include <algorithm>

#include "base/error.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/sha256.h"
#include "coordinator/service/assembly.h"
#include "coordinator/service/service_impl.h"

namespace seamwright::coordinator {
namespace {

using std::chrono::steady_clock;

// Viewers that follow a stream may still read the pieces of a finished video for this long.
constexpr std::int64_t kSegmentsKept_s = 600;
// Most jobs of a long list have no files any more.
constexpr std::chrono::seconds kFullExpiry{30};

// SHA-256 over the per-frame values, in frame order, as the worker reports it.
std::string latents_digest(const std::vector<Artifact>& segments) {
  Sha256 all;
  for (const auto& segment : segments) {
    const auto detail = nlohmann::json::parse(segment.detail);
    for (const auto& hex : detail.at("latents")) {
      const auto digest = digest_from_hex(hex.get<std::string>());
      all.update(std::as_bytes(std::span(digest)));
    }
  }
  return to_hex(all.finish());
}

constexpr std::chrono::seconds kAssemblyPauseMax{60};
// About a quarter of an hour; a full disk is waited for without end.
constexpr int kAssemblyTries = 20;

// The video cannot be made of these segments, however often it is tried.
bool is_for_good(const std::exception& error) {
  const auto* known = dynamic_cast<const Error*>(&error);
  return known == nullptr || known->code() == ErrorCode::kCorrupt;
}

std::string failure_code(const Error& error) {
  const std::string text = error.what();
  const bool full = error.code() == ErrorCode::kResource ||
                    text.find("No space left") != std::string::npos ||
                    text.find("disk is full") != std::string::npos;
  return full ? "out_of_disk" : "assembly_failed";
}

}  // namespace

ServiceImpl::ArtifactList ServiceImpl::artifacts_of(const std::string& job,
                                                    const std::string& kind) const {
  const std::lock_guard lock(artifacts_mutex_);
  ArtifactList list;
  if (const auto found = artifacts_.find(job); found != artifacts_.end()) {
    std::copy_if(found->second.begin(), found->second.end(), std::back_inserter(list),
                 [&](const Artifact& a) { return a.kind == kind; });
  }
  return list;
}

void ServiceImpl::remember(Ledger& ledger, const Artifact& artifact) {
  ledger.write([artifact](JobStore& store) { store.put_artifact(artifact); });
  ledger.after([this, artifact] {
    const std::lock_guard lock(artifacts_mutex_);
    auto& list = artifacts_[artifact.job];
    const auto at = std::find_if(list.begin(), list.end(), [&](const Artifact& a) {
      return a.kind == artifact.kind && a.first_frame >= artifact.first_frame;
    });
    // As the store does: what came twice is there once.
    if (at != list.end() && at->first_frame == artifact.first_frame) {
      *at = artifact;
    } else {
      list.insert(at, artifact);
    }
  });
}

void ServiceImpl::forget_artifacts(Ledger& ledger, const std::string& job,
                                   const std::string& kind) {
  // Also where none is known: one may be remembered with this very batch.
  ledger.write([job, kind](JobStore& store) { store.remove_artifacts(job, kind); });
  ledger.after([this, job, kind] {
    ArtifactList gone = artifacts_of(job, kind);
    if (gone.empty()) return;
    {
      const std::lock_guard lock(artifacts_mutex_);
      auto& list = artifacts_[job];
      std::erase_if(list, [&](const Artifact& a) { return a.kind == kind; });
      if (list.empty()) artifacts_.erase(job);
    }
    post_side([this, gone = std::move(gone)] {
      for (const auto& artifact : gone) folder_.remove_file(artifact.file);
    });
  });
}

void ServiceImpl::on_segment(Ledger& ledger, const Gang& gang, const MessagePtr& message) {
  const auto& header = message->header;
  Artifact artifact{gang.job,
                    gang.attempt,
                    "segment",
                    header.at("first_frame").get<int>(),
                    header.at("end_frame").get<int>(),
                    "",
                    0,
                    ""};
  const auto media_bytes = header.at("media_bytes").get<std::size_t>();
  if (media_bytes > message->payload.size()) {
    server_->disconnect(*gang.client, "a segment is shorter than it says");
    return;
  }
  artifact.bytes = static_cast<std::int64_t>(media_bytes);
  // The payload is the file, then JSON: the digests of its frames and the writer's notes.
  artifact.detail = {reinterpret_cast<const char*>(message->payload.data()) + media_bytes,
                     message->payload.size() - media_bytes};
  Json::parse(artifact.detail).at("latents");
  artifact.file =
      fmt::format("segments/{}-{}-{}.mp4", gang.job, gang.attempt, artifact.first_frame);
  const auto have = artifacts_of(gang.job, "segment");
  const bool known = std::any_of(have.begin(), have.end(), [&](const Artifact& a) {
    return a.first_frame == artifact.first_frame;
  });
  const auto client = *gang.client;
  if (known) {
    return answer(client, "attempt.segment_saved", artifact.job, artifact.attempt,
                  {{"first_frame", artifact.first_frame}});
  }
  const auto bytes = payload_of(message);
  ledger.after([this, client, artifact, bytes] {
    post_side([this, client, artifact, bytes] {
      try {
        const std::span<const std::byte> all(*bytes);
        folder_.write_durably(artifact.file, all.first(static_cast<std::size_t>(artifact.bytes)),
                              "segment");
      } catch (const Error& error) {
        log_warning("{}: a segment could not be stored: {}", artifact.job, error.what());
        const bool full = failure_code(error) == "out_of_disk";
        return answer(client, "attempt.refused", artifact.job, artifact.attempt,
                      {{"first_frame", artifact.first_frame},
                       {"code", full ? "out_of_disk" : "store_failed"},
                       {"message", full ? "the coordinator's disk is full"
                                        : "the coordinator could not store a segment"}});
      }
      post_background([this, client, artifact](Ledger& l) { commit_segment(l, client, artifact); },
                      true);
    });
  });
}

void ServiceImpl::commit_segment(Ledger& ledger, Client client, const Artifact& artifact) {
  const auto* job = ledger.find(artifact.job);
  if (job == nullptr || job->final() || job->assembling || job->view.attempt != artifact.attempt ||
      job->gang_instance.empty()) {
    post_side([this, file = artifact.file] { folder_.remove_file(file); });
    return;
  }
  // Sent again after a lost link, it may have come while the first was being written.
  const auto have = artifacts_of(artifact.job, "segment");
  const bool known = std::any_of(have.begin(), have.end(), [&](const Artifact& a) {
    return a.first_frame == artifact.first_frame && a.file == artifact.file;
  });
  if (known) {
    return answer(client, "attempt.segment_saved", artifact.job, artifact.attempt,
                  {{"first_frame", artifact.first_frame}});
  }
  auto& changed = ledger.edit(artifact.job);
  ++changed.durable;
  changed.view.frames_done = std::max(changed.view.frames_done, artifact.end_frame);
  if (!changed.view.first_frame_seconds) {
    changed.view.first_frame_seconds = static_cast<double>(unix_now() - changed.view.created_at);
  }
  ledger.label("segment_commit");
  remember(ledger, artifact);
  ledger.event(artifact.job, "segment",
               {{"first_frame", artifact.first_frame}, {"end_frame", artifact.end_frame}});
  ledger.after([this, client, artifact] {
    ++counters_.segments;
    answer(client, "attempt.segment_saved", artifact.job, artifact.attempt,
           {{"first_frame", artifact.first_frame}});
  });
}

void ServiceImpl::begin_assembly(Ledger& ledger, const std::string& id) {
  auto& job = ledger.edit(id);
  if (artifacts_of(id, "segment").empty()) {
    end_job(ledger, id, JobState::kFailed,
            JobFailure{"cancelled", "ended before the first frames were finished"});
    return;
  }
  job.assembling = true;
  job.gang_instance.clear();
  ledger.label("done");
  ledger.after([this, id] {
    orphans_.erase(id);
    assembly_failures_.erase(id);
    post_assembly(id);
  });
}

void ServiceImpl::post_assembly(const std::string& id) {
  joiner_->post([this, id] { assemble(id); });
}

// On the joiner's thread.
void ServiceImpl::assemble(const std::string& id) {
  if (stopped_) return;  // it begins again with the next start
  const auto job = table_.find(id);
  const auto segments = artifacts_of(id, "segment");
  if (!job || !job->assembling || segments.empty()) return;
  Artifact video{id,
                 job->view.attempt,
                 "video",
                 0,
                 segments.back().end_frame,
                 fmt::format("videos/{}-{}.mp4", id, job->view.attempt),
                 0,
                 "{}"};
  try {
    std::vector<std::filesystem::path> files;
    for (const auto& segment : segments) files.push_back(folder_.file(segment.file));
    const auto digest = latents_digest(segments);
    failpoint("before.video");
    join_video(files, folder_.file(video.file), job->view.submission.request,
               Json::parse(job->result), stopped_);
    failpoint("after.video");
    video.bytes = static_cast<std::int64_t>(std::filesystem::file_size(folder_.file(video.file)));
    assembled(video, digest);
  } catch (const std::exception& error) {
    const auto* known = dynamic_cast<const Error*>(&error);
    log_warning("{}: the video could not be put together: {}", id, error.what());
    const JobFailure failure{known != nullptr ? failure_code(*known) : "assembly_failed",
                             "the finished pieces could not be put together into one video; the "
                             "server's log says more"};
    post_background([this, id, failure, for_good = is_for_good(error)](
                        Ledger& ledger) { assembly_failed(ledger, id, failure, for_good); },
                    true);
  }
}

// Hours of work lie in the segments: what may pass (a full disk, a killed ffmpeg) is tried again.
void ServiceImpl::assembly_failed(Ledger& ledger, const std::string& id, const JobFailure& failure,
                                  bool for_good) {
  const auto* job = ledger.find(id);
  if (job == nullptr || !job->assembling) return;
  const auto found = assembly_failures_.find(id);
  const int tries = found == assembly_failures_.end() ? 1 : found->second.tries + 1;
  if (for_good || (tries >= kAssemblyTries && failure.code != "out_of_disk")) {
    end_job(ledger, id, JobState::kFailed, failure, /*keep_segments=*/true);
    return;
  }
  const auto pause = std::min<std::chrono::milliseconds>(
      kAssemblyPauseMax, options_.assembly_pause * (1LL << std::min(tries - 1, 16)));
  log_info("{}: trying again in {} ms", id, pause.count());
  ledger.event(id, "log",
               {{"line", fmt::format("the finished pieces could not be put together yet ({}); "
                                     "trying again",
                                     failure.code)}});
  ledger.after([this, id, tries, pause] {
    assembly_failures_[id] = {tries, steady_clock::now() + pause};
  });
}

void ServiceImpl::retry_assemblies() {
  for (auto next = assembly_failures_.begin(); next != assembly_failures_.end();) {
    auto& [id, state] = *next;
    const auto job = table_.find(id);
    if (!job || !job->assembling) {
      next = assembly_failures_.erase(next);
      continue;
    }
    if (state.again && steady_clock::now() >= *state.again) {
      state.again.reset();
      post_assembly(id);
    }
    ++next;
  }
}

void ServiceImpl::assembled(const Artifact& video, const std::string& latents_sha256) {
  post_background(
      [this, video, latents_sha256](Ledger& ledger) {
        const auto* job = ledger.find(video.job);
        if (job == nullptr || !job->assembling) {
          post_side([this, file = video.file] { folder_.remove_file(file); });
          return;
        }
        ledger.label("publish");
        auto& changed = ledger.edit(video.job);
        changed.view.latents_sha256 = latents_sha256;
        changed.view.frames_done = video.end_frame;
        remember(ledger, video);
        end_job(ledger, video.job, JobState::kCompleted, std::nullopt);
        ledger.after([this, frames = video.end_frame] { counters_.frames += frames; });
      },
      true);
}

// Of a failed job that kept them, they are all there is.
std::int64_t ServiceImpl::segments_kept(JobState state) const {
  return state == JobState::kFailed ? options_.retention_s : kSegmentsKept_s;
}

void ServiceImpl::expire_soon(Ledger& ledger) {
  std::vector<JobTable::RecordPtr> jobs;
  if (steady_clock::now() >= next_full_expiry_) {
    next_full_expiry_ = steady_clock::now() + kFullExpiry;
    post_side([this] { folder_.remove_left_drafts(); });
    for (const auto state : {JobState::kCompleted, JobState::kFailed}) {
      const auto all = table_.in_state(state);
      jobs.insert(jobs.end(), all.begin(), all.end());
    }
  } else {
    std::vector<std::string> with_files;
    {
      const std::lock_guard lock(artifacts_mutex_);
      for (const auto& [id, list] : artifacts_) with_files.push_back(id);
    }
    for (const auto& id : with_files) {
      if (auto job = table_.find(id); job && job->final()) jobs.push_back(std::move(job));
    }
  }
  expire(ledger, jobs);
}

void ServiceImpl::expire(Ledger& ledger, const std::vector<JobTable::RecordPtr>& jobs) {
  const auto now = unix_now();
  std::vector<std::string> expired, trimmed, unneeded, forgotten;
  for (const auto& job : jobs) {
    const auto& v = job->view;
    const auto ended = v.completed_at.value_or(v.created_at);
    if (ended + options_.record_retention_s <= now) {
      forgotten.push_back(v.id);
      continue;
    }
    // A remix may still want them for as long as the video is kept.
    if (ended + options_.retention_s <= now && !artifacts_of(v.id, "input").empty()) {
      unneeded.push_back(v.id);
    }
    if (v.expires_at && *v.expires_at <= now && !v.content_expired) {
      expired.push_back(v.id);
    } else if (ended + segments_kept(v.state) <= now && !artifacts_of(v.id, "segment").empty()) {
      trimmed.push_back(v.id);
    }
  }
  for (const auto& id : trimmed) forget_artifacts(ledger, id, "segment");
  for (const auto& id : unneeded) forget_artifacts(ledger, id, "input");
  for (const auto& id : expired) {
    ledger.label("expire");
    ledger.edit(id).view.content_expired = true;
    for (const char* kind : {"video", "segment"}) forget_artifacts(ledger, id, kind);
  }
  for (const auto& id : forgotten) {
    ledger.label("expire");
    forget_job(ledger, id);
  }
}

// The job and everything that belongs to it.
void ServiceImpl::forget_job(Ledger& ledger, const std::string& id) {
  for (const char* kind : {"video", "segment", "input"}) forget_artifacts(ledger, id, kind);
  const auto* job = ledger.find(id);
  const auto key = job == nullptr ? std::string() : key_name(job->view.submission);
  ledger.remove(id);
  ledger.after([this, id, key] {
    const auto found = keys_.find(key);
    if (found != keys_.end() && found->second.job == id) keys_.erase(found);
    post_side([this, id] {
      records_.remove_all(id);
      timelines_.take(id);
      std::error_code ignored;
      std::filesystem::remove(folder_.preview(id), ignored);
      std::filesystem::remove(folder_.timeline(id), ignored);
    });
  });
}

}  // namespace seamwright::coordinator
