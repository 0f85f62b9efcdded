#include "coordinator/store/job_store.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "coordinator/store/database.h"
#include "coordinator/store/schema.h"

namespace seamwright::coordinator {
namespace {

using Json = nlohmann::json;

template <class T>
Json maybe(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

template <class T>
std::optional<T> maybe_from(const Json& value) {
  return value.is_null() ? std::nullopt : std::optional<T>(value.get<T>());
}

Json submission_json(const Submission& s) {
  return {{"request", to_json(s.request)},
          {"priority", s.priority},
          {"owner", s.owner},
          {"remixed_from", maybe(s.remixed_from)},
          {"endless", s.endless},
          {"deadline", maybe(s.deadline)},
          {"idempotency_key", s.idempotency_key}};
}

Submission submission_from(const Json& json) {
  Submission s;
  s.request = job_request_from_json(json.at("request"));
  s.priority = json.at("priority").get<int>();
  s.owner = json.at("owner").get<std::string>();
  s.remixed_from = maybe_from<std::string>(json.at("remixed_from"));
  s.endless = json.at("endless").get<bool>();
  s.deadline = maybe_from<std::int64_t>(json.at("deadline"));
  s.idempotency_key = json.at("idempotency_key").get<std::string>();
  return s;
}

// What has no column of its own; keys that are absent keep their defaults.
Json detail_json(const JobRecord& r) {
  const JobView& v = r.view;
  Json error = nullptr;
  if (v.error) error = {{"code", v.error->code}, {"message", v.error->message}};
  return {{"progress", v.progress},
          {"error", error},
          {"gang", v.gang},
          {"frames_done", v.frames_done},
          {"evaluations_done", v.evaluations_done},
          {"evaluations_total", v.evaluations_total},
          {"first_frame_seconds", maybe(v.first_frame_seconds)},
          {"frames_per_second", maybe(v.frames_per_second)},
          {"latents_sha256", v.latents_sha256},
          {"content_expired", v.content_expired},
          {"cancel_requested", r.cancel_requested},
          {"ends_completed", r.ends_completed},
          {"assembling", r.assembling},
          {"lost_gang", r.lost_gang},
          {"last_event", r.last_event},
          {"gang_instance", r.gang_instance},
          {"durable", r.durable},
          {"durable_at_loss", r.durable_at_loss},
          {"losses", r.losses},
          {"loss_phase", r.loss_phase},
          {"result", r.result},
          {"identity", r.identity}};
}

void read_detail(const Json& d, JobRecord& r) {
  JobView& v = r.view;
  v.progress = d.value("progress", 0);
  if (const auto error = d.value("error", Json(nullptr)); !error.is_null()) {
    v.error = JobFailure{error.at("code").get<std::string>(), error.at("message")};
  }
  v.gang = d.value("gang", "");
  v.frames_done = d.value("frames_done", std::int64_t{0});
  v.evaluations_done = d.value("evaluations_done", std::int64_t{0});
  v.evaluations_total = d.value("evaluations_total", std::int64_t{0});
  v.first_frame_seconds = maybe_from<double>(d.value("first_frame_seconds", Json(nullptr)));
  v.frames_per_second = maybe_from<double>(d.value("frames_per_second", Json(nullptr)));
  v.latents_sha256 = d.value("latents_sha256", "");
  v.content_expired = d.value("content_expired", false);
  r.cancel_requested = d.value("cancel_requested", false);
  r.ends_completed = d.value("ends_completed", false);
  r.assembling = d.value("assembling", false);
  r.lost_gang = d.value("lost_gang", "");
  r.last_event = d.value("last_event", std::uint64_t{0});
  r.gang_instance = d.value("gang_instance", "");
  r.durable = d.value("durable", std::int64_t{0});
  r.durable_at_loss = d.value("durable_at_loss", std::int64_t{0});
  r.losses = d.value("losses", 0);
  r.loss_phase = d.value("loss_phase", "");
  r.result = d.value("result", "{}");
  r.identity = d.value("identity", "");
}

void bind_time(Query& q, const std::optional<std::int64_t>& time) {
  if (time) {
    q.bind(*time);
  } else {
    q.bind_null();
  }
}

std::optional<std::int64_t> read_time(const Query& q, int column) {
  return q.is_null(column) ? std::nullopt : std::optional(q.integer(column));
}

}  // namespace

JobState job_state_from(std::string_view text) {
  for (const auto state :
       {JobState::kQueued, JobState::kInProgress, JobState::kCompleted, JobState::kFailed}) {
    if (to_string(state) == text) return state;
  }
  fail(ErrorCode::kCorrupt, "the job store knows no state '{}'", text);
}

std::string submission_text(const Submission& submission) {
  auto json = submission_json(submission);
  json.erase("idempotency_key");
  return json.dump();
}

JobStore::JobStore(const std::filesystem::path& file) : db_(std::make_unique<Database>(file)) {
  migrate(*db_);
  auto q = db_->query("SELECT value FROM meta WHERE name='service_id'");
  if (!q.step()) fail(ErrorCode::kCorrupt, "the job store {} has no service id", file.string());
  service_id_ = q.text(0);
}

JobStore::~JobStore() = default;

std::vector<JobRecord> JobStore::jobs() {
  std::vector<JobRecord> all;
  auto q = db_->query(
      "SELECT id, arrival, state, attempt, created_at, started_at, completed_at, expires_at, "
      "submission, detail FROM jobs ORDER BY arrival");
  while (q.step()) {
    JobRecord r;
    try {
      r.view.submission = submission_from(Json::parse(q.text(8)));
      read_detail(Json::parse(q.text(9)), r);
    } catch (const Json::exception& error) {
      fail(ErrorCode::kCorrupt, "the job store: job {} is damaged: {}", q.text(0), error.what());
    }
    r.view.id = q.text(0);
    r.arrival = q.integer(1);
    r.view.state = job_state_from(q.text(2));
    r.view.attempt = static_cast<int>(q.integer(3));
    r.view.created_at = q.integer(4);
    r.view.started_at = read_time(q, 5);
    r.view.completed_at = read_time(q, 6);
    r.view.expires_at = read_time(q, 7);
    all.push_back(std::move(r));
  }
  return all;
}

std::vector<IdempotencyKey> JobStore::keys() {
  std::vector<IdempotencyKey> all;
  auto q = db_->query("SELECT owner, key, body_hash, job, created_at FROM idempotency_keys");
  while (q.step()) all.push_back({q.text(0), q.text(1), q.text(2), q.text(3), q.integer(4)});
  return all;
}

std::vector<Artifact> JobStore::artifacts() {
  std::vector<Artifact> all;
  auto q = db_->query(
      "SELECT job, attempt, kind, first_frame, end_frame, file, bytes, detail FROM artifacts "
      "ORDER BY job, kind, first_frame");
  while (q.step()) {
    all.push_back({q.text(0), static_cast<int>(q.integer(1)), q.text(2), q.integer(3), q.integer(4),
                   q.text(5), q.integer(6), q.text(7)});
  }
  return all;
}

std::vector<AttemptRecord> JobStore::attempts(const std::string& job) {
  std::vector<AttemptRecord> all;
  auto q = db_->query(
      "SELECT number, gang, started_at, ended_at, outcome FROM attempts WHERE job=? "
      "ORDER BY number");
  q.bind(job);
  while (q.step()) {
    all.push_back(
        {job, static_cast<int>(q.integer(0)), q.text(1), q.integer(2), q.integer(3), q.text(4)});
  }
  return all;
}

std::vector<JobEvent> JobStore::events(const std::string& job, std::uint64_t sequence) {
  std::vector<JobEvent> all;
  auto q = db_->query(
      "SELECT sequence, kind, data FROM events WHERE job=? AND sequence>? ORDER BY sequence");
  // Numbers that clients choose, beyond what a column holds.
  const auto after = std::min<std::uint64_t>(sequence, std::numeric_limits<std::int64_t>::max());
  q.bind(job).bind(static_cast<std::int64_t>(after));
  while (q.step()) {
    all.push_back({static_cast<std::uint64_t>(q.integer(0)), job, q.text(1),
                   Json::parse(q.text(2), nullptr, /*allow_exceptions=*/false)});
  }
  return all;
}

void JobStore::commit(const std::function<void()>& changes) {
  Transaction transaction(*db_);
  changes();
  transaction.commit();
}

void JobStore::put_job(const JobRecord& r) {
  const JobView& v = r.view;
  // An update in place: replacing the row would cascade to everything that belongs to it.
  auto q = db_->query(
      "INSERT INTO jobs (id, arrival, owner, state, priority, attempt, created_at, started_at, "
      "completed_at, expires_at, submission, detail) VALUES (?,?,?,?,?,?,?,?,?,?,?,?) "
      "ON CONFLICT(id) DO UPDATE SET state=excluded.state, attempt=excluded.attempt, "
      "started_at=excluded.started_at, completed_at=excluded.completed_at, "
      "expires_at=excluded.expires_at, detail=excluded.detail");
  q.bind(v.id)
      .bind(r.arrival)
      .bind(v.submission.owner)
      .bind(to_string(v.state))
      .bind(std::int64_t{v.submission.priority})
      .bind(std::int64_t{v.attempt})
      .bind(v.created_at);
  bind_time(q, v.started_at);
  bind_time(q, v.completed_at);
  bind_time(q, v.expires_at);
  // What an encoder or a file system says need not be UTF-8.
  const auto text = [](const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
  };
  q.bind(text(submission_json(v.submission))).bind(text(detail_json(r)));
  q.run();
}

void JobStore::remove_job(const std::string& id) {
  db_->query("DELETE FROM jobs WHERE id=?").bind(id).run();
}

void JobStore::put_attempt(const AttemptRecord& a) {
  db_->query("INSERT INTO attempts (job, number, gang, started_at) VALUES (?,?,?,?)")
      .bind(a.job)
      .bind(std::int64_t{a.number})
      .bind(a.gang)
      .bind(a.started_at)
      .run();
}

void JobStore::end_attempt(const std::string& job, int number, std::int64_t at,
                           const std::string& outcome) {
  db_->query("UPDATE attempts SET ended_at=?, outcome=? WHERE job=? AND number=?")
      .bind(at)
      .bind(outcome)
      .bind(job)
      .bind(std::int64_t{number})
      .run();
}

void JobStore::add_event(const JobEvent& event, std::int64_t at) {
  const auto sequence = static_cast<std::int64_t>(event.sequence);
  db_->query("INSERT INTO events (job, sequence, at, kind, data) VALUES (?,?,?,?,?)")
      .bind(event.job)
      .bind(sequence)
      .bind(at)
      .bind(event.kind)
      .bind(event.data.dump(-1, ' ', false, Json::error_handler_t::replace))
      .run();
  if (sequence > kEventsKept) {
    db_->query("DELETE FROM events WHERE job=? AND sequence<=?")
        .bind(event.job)
        .bind(sequence - kEventsKept)
        .run();
  }
}

void JobStore::put_key(const IdempotencyKey& key) {
  db_->query(
         "INSERT OR REPLACE INTO idempotency_keys (owner, key, body_hash, job, created_at) "
         "VALUES (?,?,?,?,?)")
      .bind(key.owner)
      .bind(key.key)
      .bind(key.body_hash)
      .bind(key.job)
      .bind(key.created_at)
      .run();
}

void JobStore::put_artifact(const Artifact& a) {
  db_->query(
         "INSERT OR REPLACE INTO artifacts (job, attempt, kind, first_frame, end_frame, file, "
         "bytes, detail) VALUES (?,?,?,?,?,?,?,?)")
      .bind(a.job)
      .bind(std::int64_t{a.attempt})
      .bind(a.kind)
      .bind(a.first_frame)
      .bind(a.end_frame)
      .bind(a.file)
      .bind(a.bytes)
      .bind(a.detail.empty() ? "{}" : a.detail)
      .run();
}

void JobStore::remove_artifacts(const std::string& job, const std::string& kind) {
  db_->query("DELETE FROM artifacts WHERE job=? AND kind=?").bind(job).bind(kind).run();
}

}  // namespace seamwright::coordinator
