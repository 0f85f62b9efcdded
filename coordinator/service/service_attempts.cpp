// What gangs report of the attempts they run. Only the current attempt of a job is listened to.
#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "coordinator/service/service_impl.h"

namespace seamwright::coordinator {
namespace {

using std::chrono::steady_clock;

// Of a job that still runs; the last one comes with its end.
constexpr int kProgressMax = 99;

bool ends_attempt(const std::string& type) {
  return type == "attempt.done" || type == "attempt.failed" || type == "attempt.cancelled";
}

}  // namespace

// Not moved out: the work is done again when its commit fails.
std::shared_ptr<const comm::Bytes> ServiceImpl::payload_of(const MessagePtr& message) {
  return {message, &message->payload};
}

void ServiceImpl::answer(Client client, const std::string& type, const std::string& job,
                         int attempt, Json more, comm::Bytes payload) {
  more["type"] = type;
  more["job"] = job;
  more["attempt"] = attempt;
  server_->send(client, {std::move(more), std::move(payload)});
}

bool ServiceImpl::is_current(Ledger& ledger, const Gang& gang, const std::string& id,
                             int attempt) const {
  const auto* job = ledger.find(id);
  return job != nullptr && !job->final() && !job->assembling && job->view.attempt == attempt &&
         job->gang_instance == gang.instance && gang.job == id && gang.attempt == attempt;
}

void ServiceImpl::received(Ledger& ledger, Client client, const MessagePtr& message) {
  auto* gang = gang_of(client);
  if (gang == nullptr) return;  // it was dropped meanwhile
  try {
    const auto type = message->type();
    const auto& header = message->header;
    const auto job = header.at("job").get<std::string>();
    const int attempt = header.at("attempt").get<int>();
    if (type == "gang.idle") return on_idle(ledger, *gang, header);
    const bool current = is_current(ledger, *gang, job, attempt);
    if (ends_attempt(type)) {
      ledger.after(
          [this, client, job, attempt] { answer(client, "attempt.closed", job, attempt); });
    }
    if (!current) {
      ++counters_.stale;
      if (!ends_attempt(type)) answer(client, "attempt.cancel", job, attempt, {{"why", "stale"}});
      return;
    }
    if (type == "attempt.progress") return on_progress(ledger, *gang, header);
    if (type == "attempt.preview") return on_preview(ledger, *gang, message);
    if (type == "attempt.identity") return on_identity(ledger, *gang, header);
    if (type == "attempt.record") return on_record(ledger, *gang, message);
    if (type == "attempt.drop") return on_drop(ledger, *gang, header);
    if (type == "attempt.fetch") return on_fetch(ledger, *gang, header);
    if (type == "attempt.fetch_file") return on_fetch_file(ledger, *gang, header);
    if (type == "attempt.segment") return on_segment(ledger, *gang, message);
    if (type == "attempt.done") return on_done(ledger, *gang, *message);
    if (type == "attempt.failed") return on_failed(ledger, *gang, header);
    if (type == "attempt.cancelled") return on_cancelled(ledger, *gang, header);
    if (type == "attempt.log") {
      return ledger.event(job, "log", {{"line", header.at("line").get<std::string>()}});
    }
    if (type == "attempt.timeline") {
      return timelines_.add(job, header.at("rank").get<int>(), header.at("tasks"));
    }
    // A newer gang may say more than this service knows.
    log_debug("gang {} sent '{}', which means nothing here", gang->name, type);
  } catch (const Json::exception& error) {
    server_->disconnect(client, fmt::format("a message could not be read: {}", error.what()));
  }
}

void ServiceImpl::on_idle(Ledger& ledger, Gang& gang, const Json& header) {
  const auto id = header.at("job").get<std::string>();
  const int attempt = header.at("attempt").get<int>();
  gang.loaded_model = header.value("loaded_model", "");
  if (gang.job != id || gang.attempt != attempt) return;
  if (is_current(ledger, gang, id, attempt)) {
    lose(ledger, id, fmt::format("gang {} let go of it", gang.name), false);
  }
  ledger.after([this, name = gang.name, id, attempt] {
    const auto found = gangs_.find(name);
    if (found == gangs_.end()) return;
    auto& idle = found->second;
    if (idle.job != id || idle.attempt != attempt) return;
    idle.job.clear();
    idle.phase.clear();
    idle.cancel_sent = false;
    ++idle.jobs_done;
  });
  reschedule(ledger);
}

void ServiceImpl::on_progress(Ledger& ledger, Gang& gang, const Json& header) {
  auto& job = ledger.edit(gang.job);
  JobView& view = job.view;
  const auto phase = header.value("phase", "");
  const auto done = header.value("evaluations", std::int64_t{0});
  if (phase != gang.phase || done != view.evaluations_done || header.value("alive", false)) {
    gang.progress_since = steady_clock::now();
  }
  gang.phase = phase;
  view.evaluations_done = done;
  view.evaluations_total = header.value("evaluations_total", std::int64_t{0});
  view.frames_done = std::max(view.frames_done, header.value("frames", std::int64_t{0}));
  // An attempt counts its own work alone: what earlier ones left durable is before it.
  const double share = gang.share_before + (1 - gang.share_before) * header.value("share", 0.0);
  view.progress = std::clamp(static_cast<int>(share * 100), view.progress, kProgressMax);
  if (view.submission.endless) view.progress = 0;
  if (header.contains("frames_per_second")) {
    view.frames_per_second = header.at("frames_per_second").get<double>();
  }
  if (header.contains("seconds_left")) {
    view.seconds_left = header.at("seconds_left").get<double>();
  }
  ledger.event(gang.job, "progress",
               {{"progress", view.progress},
                {"phase", phase},
                {"evaluations", done},
                {"evaluations_total", view.evaluations_total},
                {"frames", view.frames_done},
                {"frames_total", view.submission.request.frames},
                {"step", header.value("step", -1)},
                {"window", header.value("window", -1)}});
}

void ServiceImpl::on_preview(Ledger& ledger, const Gang& gang, const MessagePtr& message) {
  const auto frame = message->header.value("frame", std::int64_t{0});
  auto bytes = payload_of(message);
  ledger.event(gang.job, "preview", {{"frame", frame}});
  ledger.after([this, id = gang.job, bytes] {
    post_side([this, id, bytes] { folder_.write_lightly(folder_.preview(id), *bytes); });
  });
}

// Records and segments of another identity would give other bits: such a job begins again.
void ServiceImpl::on_identity(Ledger& ledger, const Gang& gang, const Json& header) {
  const auto parts = header.at("parts").dump();
  auto& job = ledger.edit(gang.job);
  const bool other = !job.identity.empty() && job.identity != parts;
  job.identity = parts;
  if (other) {
    job.view.frames_done = 0;
    ledger.event(gang.job, "log",
                 {{"line", "begun again: this gang computes with other numerics than the last"}});
    discard_durable(ledger, gang.job, true);
  }
  // Last: nothing of the other identity is there any more when the gang hears it.
  ledger.after([this, client = *gang.client, id = gang.job, attempt = gang.attempt] {
    answer(client, "attempt.identity_saved", id, attempt);
  });
}

void ServiceImpl::on_record(Ledger& ledger, const Gang& gang, const MessagePtr& message) {
  const RecordStore::Key key{message->header.at("at").get<int>(),
                             message->header.at("level").get<int>()};
  auto bytes = payload_of(message);
  ledger.after([this, client = *gang.client, id = gang.job, attempt = gang.attempt, key, bytes,
                identity = ledger.find(gang.job)->identity] {
    post_side([this, client, id, attempt, key, bytes, identity] {
      Json about = {{"at", key.at}, {"level", key.level}};
      try {
        records_.save(id, identity, key, *bytes);
      } catch (const Error& error) {
        about["code"] = error.code() == ErrorCode::kResource ? "out_of_disk" : "store_failed";
        about["message"] = error.what();
        return answer(client, "attempt.refused", id, attempt, std::move(about));
      }
      ++counters_.records;
      counters_.record_bytes += static_cast<std::int64_t>(bytes->size());
      answer(client, "attempt.record_saved", id, attempt, std::move(about));
      work_->post(
          [id](Ledger& l) {
            if (l.find(id) != nullptr) ++l.edit(id).durable;
          },
          {.urgent = false, .retry = false, .done = {}});
    });
  });
}

void ServiceImpl::on_drop(Ledger& ledger, const Gang& gang, const Json& header) {
  const RecordStore::Key key{header.at("at").get<int>(), header.at("level").get<int>()};
  ledger.after(
      [this, id = gang.job, key] { post_side([this, id, key] { records_.remove(id, key); }); });
}

void ServiceImpl::on_fetch(Ledger& ledger, const Gang& gang, const Json& header) {
  const RecordStore::Key key{header.at("at").get<int>(), header.at("level").get<int>()};
  ledger.after([this, client = *gang.client, id = gang.job, attempt = gang.attempt, key,
                identity = ledger.find(gang.job)->identity] {
    post_side([this, client, id, attempt, key, identity] {
      Json about = {{"at", key.at}, {"level", key.level}};
      try {
        auto bytes = records_.load(id, identity, key);
        answer(client, "attempt.record", id, attempt, std::move(about), std::move(bytes));
      } catch (const Error& error) {
        const bool damaged = error.code() == ErrorCode::kCorrupt;
        if (damaged) forget_damaged(id, key);
        about["code"] = damaged ? "damaged_record" : "unreadable_record";
        about["message"] = error.what();
        answer(client, "attempt.refused", id, attempt, std::move(about));
      }
    });
  });
}

// A damaged record is no record: the next attempt does not count on it. One that merely could not
// be read this time stays.
void ServiceImpl::forget_damaged(const std::string& id, RecordStore::Key key) {
  try {
    records_.remove(id, key);
  } catch (const Error& error) {
    log_warning("{}: a damaged record could not be removed: {}", id, error.what());
  }
}

void ServiceImpl::on_done(Ledger& ledger, Gang& gang, const Message& message) {
  const std::string id = gang.job;
  auto& job = ledger.edit(id);
  job.result = {reinterpret_cast<const char*>(message.payload.data()), message.payload.size()};
  const auto segments = artifacts_of(id, "segment");
  std::int64_t next = 0;
  for (const auto& segment : segments) {
    if (segment.first_frame == next) next = segment.end_frame;
  }
  if (!job.view.submission.endless && next != job.view.submission.request.frames) {
    lose(ledger, id,
         fmt::format("gang {} says it is done, but only {} frames are here", gang.name, next),
         true);
    return;
  }
  begin_assembly(ledger, id);
}

void ServiceImpl::on_failed(Ledger& ledger, const Gang& gang, const Json& header) {
  const auto code = header.at("code").get<std::string>();
  const auto text = header.at("message").get<std::string>();
  const std::string id = gang.job;
  if (header.value("retryable", false)) {
    lose(ledger, id, text, true, code);
  } else {
    ledger.label("fail");
    end_job(ledger, id, JobState::kFailed, JobFailure{code, text});
  }
}

void ServiceImpl::on_cancelled(Ledger& ledger, const Gang& gang, const Json& header) {
  const std::string id = gang.job;
  const auto* job = ledger.find(id);
  if (job->ends_completed && !artifacts_of(id, "segment").empty()) {
    begin_assembly(ledger, id);
  } else if (job->cancel_requested) {
    end_job(ledger, id, JobState::kFailed, JobFailure{"cancelled", "cancelled on request"});
  } else {
    lose(ledger, id, "stopped: " + header.value("why", "no reason was given"), false);
  }
}

}  // namespace seamwright::coordinator
