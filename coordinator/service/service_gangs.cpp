// Who is there: gangs that join, leave, are lost and are told to stop.
#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "coordinator/service/service_impl.h"
#include "scheduling/plan.h"

namespace seamwright::coordinator {
namespace {

using std::chrono::steady_clock;

double seconds_since(SteadyTime then) {
  return std::chrono::duration<double>(steady_clock::now() - then).count();
}

std::string describe(const comm::ControlEnd& end) {
  return end.orderly ? "it left: " + end.reason : end.reason;
}

}  // namespace

Gang gang_from(const nlohmann::json& about) {
  Gang gang;
  try {
    gang.name = about.at("gang").get<std::string>();
    gang.instance = about.at("instance").get<std::string>();
    gang.models = about.at("models").get<std::vector<std::string>>();
    gang.ranks = scheduling::parse_layout(about.at("layout").get<std::string>()).ranks();
    gang.loaded_model = about.value("loaded_model", "");
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorCode::kInvalidArgument, "a gang says too little of itself: {}", error.what());
  }
  require(!gang.name.empty() && gang.name.size() <= 200, "a gang's name has 1 to 200 characters");
  gang.about = about;
  gang.joined_at = unix_now();
  return gang;
}

Gang* ServiceImpl::gang_of(Client client) {
  for (auto& [name, gang] : gangs_) {
    if (gang.client == client) return &gang;
  }
  return nullptr;
}

Gang* ServiceImpl::gang_running(const std::string& job, int attempt) {
  for (auto& [name, gang] : gangs_) {
    if (gang.job == job && gang.attempt == attempt) return &gang;
  }
  return nullptr;
}

void ServiceImpl::send(const Gang& gang, Json header, comm::Bytes payload) {
  if (!gang.client || !server_) return;
  server_->send(*gang.client, {std::move(header), std::move(payload)});
}

void ServiceImpl::joined(Ledger& ledger, Client client, const Json& about) {
  Gang gang;
  try {
    gang = gang_from(about);
  } catch (const Error& error) {
    server_->disconnect(client, error.what());
    return;
  }
  const auto old = gangs_.find(gang.name);
  if (old != gangs_.end() && old->second.instance == gang.instance) {
    // The same process after a lost link: it goes on where it was.
    const auto previous = old->second.client;
    if (previous && *previous != client) server_->disconnect(*previous, "the gang joined again");
    gang.draining = old->second.draining;
    gang.jobs_done = old->second.jobs_done;
    gang.joined_at = old->second.joined_at;
  } else if (old != gangs_.end() && old->second.client) {
    // If that link is dead without knowing it yet, the newcomer gets in when it tries again.
    server_->disconnect(
        client, fmt::format("a gang named {} is connected: give another --name", gang.name));
    return;
  } else if (old != gangs_.end()) {
    drop_gang(ledger, gang.name, "its process was replaced by another", true);
  }
  gang.client = client;
  gang.draining = gang.draining || drain_all_;
  const std::string name = gang.name;
  gangs_[name] = std::move(gang);
  reattach(ledger, gangs_[name], about.value("running", Json(nullptr)));
  reschedule(ledger);
  log_info("gang {} joined: layout {}, {}", name, about.value("layout", "?"),
           about.value("version", "?"));
}

// What a gang that joins says it runs, against what the store says it should.
void ServiceImpl::reattach(Ledger& ledger, Gang& gang, const Json& running) {
  if (running.is_object()) {
    gang.job = running.value("job", "");
    gang.attempt = running.value("attempt", 0);
    gang.attempt_since = gang.progress_since = steady_clock::now();
  }
  std::string mine_id;
  for (const auto& job : table_.in_state(JobState::kInProgress)) {
    const auto* now = ledger.find(job->view.id);
    if (now == nullptr || now->gang_instance.empty()) continue;
    if (now->gang_instance == gang.instance) {
      mine_id = job->view.id;
    } else if (now->view.gang == gang.name) {
      lose(ledger, job->view.id, fmt::format("gang {} was started again", gang.name), false);
    }
  }
  if (!mine_id.empty()) {
    const auto* mine = ledger.find(mine_id);
    const std::string id = mine_id;
    ledger.after([this, id] { orphans_.erase(id); });
    if (gang.job == id && gang.attempt == mine->view.attempt) {
      if (mine->cancel_requested) cancel_on_gang(ledger, gang, "cancel");
      return;
    }
    lose(ledger, id, fmt::format("gang {} joined again without it", gang.name), false);
  }
  if (!gang.job.empty()) cancel_on_gang(ledger, gang, "stale");
}

void ServiceImpl::left(Ledger& ledger, Client client, const comm::ControlEnd& end) {
  auto* gang = gang_of(client);
  if (gang == nullptr) return;
  gang->client.reset();
  gang->lost_since = steady_clock::now();
  reschedule(ledger);
  log_info("gang {}: the link ended: {}", gang->name, describe(end));
  // One that said goodbye, or that runs nothing, is not waited for.
  if (end.orderly || gang->job.empty()) drop_gang(ledger, gang->name, describe(end), !end.orderly);
}

void ServiceImpl::gang_ended(const std::string& name, const std::string& how, bool blame) {
  work_->post(
      [this, name, how, blame](Ledger& ledger) {
        const auto gang = gangs_.find(name);
        if (gang == gangs_.end()) return;
        if (gang->second.client) server_->disconnect(*gang->second.client, "its process has ended");
        gang->second.client.reset();
        drop_gang(ledger, name, how, blame);
      },
      {.urgent = true, .retry = true, .done = {}});
}

void ServiceImpl::drop_gang(Ledger& ledger, const std::string& name, const std::string& how,
                            bool blame) {
  const auto found = gangs_.find(name);
  if (found == gangs_.end()) return;
  const Gang gang = found->second;
  reschedule(ledger);
  const auto* job = gang.job.empty() ? nullptr : ledger.find(gang.job);
  if (job != nullptr && !job->final() && job->view.attempt == gang.attempt &&
      job->gang_instance == gang.instance) {
    lose(ledger, gang.job, fmt::format("gang {} was lost: {}", name, how), blame);
  }
  // Only now: if this cannot be stored, it is tried again.
  ledger.after([this, name, instance = gang.instance] {
    const auto still = gangs_.find(name);
    if (still != gangs_.end() && still->second.instance == instance && !still->second.client) {
      gangs_.erase(still);
    }
  });
}

// Only what the job was seen to be doing says something about it: a gang that was lost before it
// had begun, or at another part of the work, may have been lost for any reason.
void ServiceImpl::count_against(JobRecord& job, const std::string& phase) {
  const bool again = job.durable == job.durable_at_loss && job.loss_phase == phase;
  job.losses = again ? job.losses + 1 : 1;
  job.durable_at_loss = job.durable;
  job.loss_phase = phase;
}

// An attempt is over without a result: the job waits for the next one, or is given up.
void ServiceImpl::lose(Ledger& ledger, const std::string& id, const std::string& how, bool blame,
                       const std::string& code) {
  auto& job = ledger.edit(id);
  const int attempt = job.view.attempt;
  ledger.after([this, id] { orphans_.erase(id); });
  reschedule(ledger);
  log_warning("{}: attempt {} is lost: {}", id, attempt, how);
  if (job.cancel_requested && !job.ends_completed) {
    end_job(ledger, id, JobState::kFailed, JobFailure{"cancelled", "cancelled on request"});
    return;
  }
  if (job.ends_completed) {
    begin_assembly(ledger, id);
    return;
  }
  if (blame) {
    job.lost_gang = job.view.gang;
    ledger.after([this] { ++counters_.losses; });
    const auto* gang = gang_running(id, attempt);
    if (gang != nullptr && gang->has_reported()) count_against(job, gang->phase);
  }
  job.gang_instance.clear();
  job.view.gang.clear();
  const int losses = job.losses;
  ledger.label("lose");
  ledger.event(id, "attempt", {{"attempt", attempt}, {"state", "lost"}, {"reason", how}});
  if (losses >= options_.losses_max) {
    end_job(
        ledger, id, JobState::kFailed,
        JobFailure{code.empty() ? "poison_job" : code,
                   fmt::format("{} {} in a row {} with this job and nothing new was finished in "
                               "between; the last: {}",
                               losses, code.empty() ? "gangs" : "attempts",
                               code.empty() ? "were lost" : "failed", how)});
    return;
  }
  ledger.write([id, attempt, how](JobStore& store) {
    store.end_attempt(id, attempt, unix_now(), "lost: " + how);
  });
}

void ServiceImpl::cancel_on_gang(Ledger& ledger, Gang& gang, const std::string& why) {
  if (!gang.cancel_sent) gang.cancel_since = steady_clock::now();
  gang.cancel_sent = true;
  ledger.after([this, name = gang.name, job = gang.job, attempt = gang.attempt, why] {
    const auto found = gangs_.find(name);
    if (found == gangs_.end() || !found->second.client) return;
    // By way of the side thread, as the start: a gang does not
    // know an attempt that it has not begun.
    post_side([this, client = *found->second.client, job, attempt, why] {
      answer(client, "attempt.cancel", job, attempt, {{"why", why}});
    });
  });
}

void ServiceImpl::drain(const std::string& name) {
  work_->call([&](Ledger& ledger) {
    if (!name.empty() && !gangs_.contains(name)) {
      throw ApiError(404, "invalid_request_error", "not_found", "gang",
                     fmt::format("there is no gang '{}'", name));
    }
    if (name.empty()) drain_all_ = true;
    for (auto& [key, gang] : gangs_) {
      if (name.empty() || key == name) gang.draining = true;
    }
    reschedule(ledger);
  });
}

void ServiceImpl::publish_cluster() {
  auto list = Json::array();
  int ready = 0, busy = 0;
  for (const auto& [name, gang] : gangs_) {
    const char* state = !gang.client        ? "lost"
                        : !gang.job.empty() ? "busy"
                        : gang.draining     ? "draining"
                                            : "idle";
    ready += gang.idle() && !gang.draining ? 1 : 0;
    busy += gang.client && !gang.job.empty() ? 1 : 0;
    Json entry = {{"id", name},
                  {"state", state},
                  {"layout", gang.about.value("layout", "")},
                  {"hosts", gang.about.value("hosts", Json::array())},
                  {"version", gang.about.value("version", "")},
                  {"fingerprint", gang.about.value("fingerprint", "")},
                  {"pid", gang.about.value("pid", 0)},
                  {"models", gang.models},
                  {"loaded_model", gang.loaded_model},
                  {"draining", gang.draining},
                  {"connected_at", gang.joined_at},
                  {"jobs_done", gang.jobs_done},
                  {"job", gang.job.empty() ? Json(nullptr) : Json(gang.job)},
                  {"attempt", gang.attempt},
                  {"phase", gang.phase}};
    if (!gang.job.empty()) {
      entry["attempt_seconds"] = seconds_since(gang.attempt_since);
      entry["progress_seconds_ago"] = seconds_since(gang.progress_since);
    }
    if (!gang.client) entry["lost_seconds_ago"] = seconds_since(gang.lost_since);
    list.push_back(std::move(entry));
  }
  const std::lock_guard lock(cluster_mutex_);
  cluster_ = {{"gangs", std::move(list)}, {"orphans", orphans_.size()}, {"draining", drain_all_}};
  gangs_ready_ = ready;
  gangs_busy_ = busy;
}

}  // namespace seamwright::coordinator
