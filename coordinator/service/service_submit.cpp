// How a job is accepted: checked, counted against its owner's room, and made durable.
#include <algorithm>
#include <random>

#include "base/error.h"
#include "base/sha256.h"
#include "coordinator/service/service_impl.h"

namespace seamwright::coordinator {
namespace {

constexpr std::int64_t kEndlessFrames = 1'000'000;

std::string new_id() {
  static thread_local std::random_device device;
  std::string id = "video_";
  for (int i = 0; i < 4; ++i) id += fmt::format("{:08x}", device());
  return id;
}

// The field a message of request checking is about: the first one it names.
std::string field_in(const std::string& message) {
  const auto fields = to_json(JobRequest{});
  std::string best;
  std::size_t best_at = std::string::npos;
  for (const auto& [name, value] : fields.items()) {
    std::size_t at = message.find(name);
    const auto letter = [&](std::size_t i) {
      return i < message.size() &&
             (std::isalnum(static_cast<unsigned char>(message[i])) != 0 || message[i] == '_');
    };
    while (at != std::string::npos && ((at > 0 && letter(at - 1)) || letter(at + name.size()))) {
      at = message.find(name, at + 1);
    }
    if (at < best_at) {
      best_at = at;
      best = name;
    }
  }
  return best;
}

}  // namespace

ApiError refusal(const Error& error) {
  const std::string message = error.what();
  switch (error.code()) {
    case ErrorCode::kInvalidArgument:
      return {400, "invalid_request_error", "invalid_value", field_in(message), message};
    case ErrorCode::kUnsupported:
      return {400, "invalid_request_error", "unsupported", field_in(message), message};
    case ErrorCode::kNotFound:
      return {400, "invalid_request_error", "model_not_found", "model", message};
    case ErrorCode::kCorrupt:
      return {400, "invalid_request_error", "invalid_model", "model", message};
    default:
      return {500, "server_error", std::string(to_string(error.code())), "", message};
  }
}

std::string ServiceImpl::key_name(const Submission& s) {
  return s.owner + '\n' + s.idempotency_key;
}

// The job that this key made before, or "". Throws ApiError 409 if it was for another body.
std::string ServiceImpl::known_key(Ledger& ledger, const Submission& s, const std::string& hash) {
  if (s.idempotency_key.empty()) return {};
  const auto found = keys_.find(key_name(s));
  if (found == keys_.end() || ledger.find(found->second.job) == nullptr) return {};
  if (found->second.body_hash != hash) {
    throw ApiError(409, "invalid_request_error", "idempotency_key_reused", "Idempotency-Key",
                   "this idempotency key was used for another request: use a new key, or send the "
                   "same request");
  }
  return found->second.job;
}

// Refuses what the owner, or the queue, has no room for.
void ServiceImpl::check_room(Ledger& ledger, const Submission& submission) const {
  const auto retry_after = [](ApiError refusal, int seconds) {
    refusal.retry_after_s = seconds;
    return refusal;
  };
  const auto mine = [&](const JobRecord& job) {
    return !job.final() && job.view.submission.owner == submission.owner;
  };
  if (submission.active_jobs_max > 0) {
    int active = ledger.count_new(mine);
    for (const auto state : {JobState::kQueued, JobState::kInProgress}) {
      for (const auto& record : table_.in_state(state)) {
        const auto* job = ledger.find(record);
        if (job != nullptr && mine(*job)) ++active;
      }
    }
    if (active >= submission.active_jobs_max) {
      throw retry_after(
          {429, "rate_limit_error", "too_many_jobs", "",
           fmt::format("the key '{}' may have {} jobs queued or running; wait for one "
                       "to end or cancel it",
                       submission.owner, submission.active_jobs_max)},
          10);
    }
  }
  const auto queued = static_cast<int>(table_.count(JobState::kQueued)) +
                      ledger.count_new([](const JobRecord& job) { return !job.final(); });
  if (queued >= options_.queue_limit) {
    throw retry_after({429, "rate_limit_error", "queue_full", "",
                       fmt::format("{} jobs are waiting, which is the limit: try again later",
                                   options_.queue_limit)},
                      30);
  }
}

JobView ServiceImpl::submit(const Submission& submission) {
  std::string hash;
  try {
    const auto text = submission_text(submission);
    hash = to_hex(sha256(std::as_bytes(std::span(text.data(), text.size()))));
  } catch (const Json::exception&) {
    throw ApiError(400, "invalid_request_error", "invalid_encoding", "", "text must be UTF-8");
  }
  if (!submission.files.empty()) {
    // Files are stored and looked at before the job counts: not
    // for what is refused, or known, anyway.
    std::string known;
    work_->call([&](Ledger& ledger) {
      known = known_key(ledger, submission, hash);
      if (known.empty()) check_room(ledger, submission);
    });
    if (!known.empty()) return table_.view(known, submission.owner);
  }
  JobRecord record;
  record.view.id = new_id();
  record.view.submission = submission;
  record.view.submission.files.clear();
  const ArtifactList inputs = take_inputs(record.view.id, submission);
  // Files of a job that is not accepted, or that was accepted before, go again.
  bool accepted = false;
  const std::shared_ptr<void> undo(nullptr, [&](void*) {
    if (!accepted) drop_inputs(inputs);
  });
  try {
    auto& request = record.view.submission.request;
    if (submission.endless) {
      // Longer than anybody waits; memory does not depend on it in streaming order.
      request.frames = kEndlessFrames;
      request.order = "streaming";
    }
    request = checked(submission, request, inputs);
  } catch (const Error& error) {
    throw refusal(error);
  } catch (const Json::exception&) {
    throw ApiError(400, "invalid_request_error", "invalid_encoding", "", "text must be UTF-8");
  }
  std::string id = record.view.id;
  const std::string key = key_name(submission);
  try {
    work_->call([&](Ledger& ledger) {
      if (const auto known = known_key(ledger, submission, hash); !known.empty()) {
        id = known;
        return;
      }
      check_room(ledger, submission);
      record.arrival = next_arrival_++;
      record.view.created_at = unix_now();
      ledger.label("submit");
      ledger.create(record);
      for (const auto& input : inputs) remember(ledger, input);
      ledger.event(id, "state", {{"state", "queued"}});
      if (!submission.idempotency_key.empty()) {
        const IdempotencyKey entry{submission.owner, submission.idempotency_key, hash, id,
                                   record.view.created_at};
        keys_[key] = entry;
        ledger.write([entry](JobStore& store) { store.put_key(entry); });
      }
      ledger.after([this, &accepted] {
        accepted = true;
        ++counters_.submitted;
      });
      reschedule(ledger);
    });
  } catch (...) {
    // The key must not outlive a job that was never stored.
    post_background(
        [this, key, id](Ledger& ledger) {
          const auto found = keys_.find(key);
          if (found != keys_.end() && ledger.find(found->second.job) == nullptr) keys_.erase(found);
        },
        false);
    throw;
  }
  return table_.view(id, submission.owner);
}

}  // namespace seamwright::coordinator
