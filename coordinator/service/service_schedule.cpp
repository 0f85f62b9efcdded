// What runs where: leases, stalls, deadlines, and the choice of a gang for a job.
#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "coordinator/service/service_impl.h"
#include "scheduling/cluster.h"

namespace seamwright::coordinator {
namespace {

using std::chrono::steady_clock;

// A cancelled gang is idle within two steps; one that is not by then is ended.
constexpr std::chrono::seconds kCancelPatience{60};
// A local gang whose link is lost for this long hangs or is stopped: nothing but its processes
// stands between it and the coordinator.
constexpr std::chrono::seconds kLocalPatience{3};
// How old the places of waiting jobs may be that clients see.
constexpr std::chrono::milliseconds kPlacesInterval{250};

double seconds_since(SteadyTime then) {
  return std::chrono::duration<double>(steady_clock::now() - then).count();
}

}  // namespace

void ServiceImpl::tick(Ledger& ledger) {
  // An assignment whose commit failed never happened.
  for (auto& [name, gang] : gangs_) {
    if (!gang.start_unsaved) continue;
    gang.start_unsaved = false;
    gang.job.clear();
    schedule_due_ = true;
  }
  check_leases(ledger);
  check_stalls(ledger);
  if (steady_clock::now() >= next_slow_checks_) {
    next_slow_checks_ = steady_clock::now() + std::chrono::seconds(1);
    check_deadlines(ledger);
    retry_assemblies();
    expire_soon(ledger);
  }
  // With nobody free, only places in the queue change: those can wait for the next tick.
  if (schedule_due_ && (anyone_free() || steady_clock::now() >= next_schedule_)) schedule(ledger);
  publish_cluster();
}

void ServiceImpl::check_leases(Ledger& ledger) {
  const auto now = steady_clock::now();
  std::vector<std::string> over;
  for (auto& [name, gang] : gangs_) {
    if (gang.client) continue;
    if (now - gang.lost_since > options_.lease) over.push_back(name);
    if (now - gang.lost_since > kLocalPatience && !gang.kill_sent && options_.kill_gang) {
      gang.kill_sent = true;  // no effect on gangs that are not local; gang_ended follows
      post_side([kill = options_.kill_gang, gang_name = name] { kill(gang_name); });
    }
  }
  for (const auto& name : over) drop_gang(ledger, name, "it was not heard of for the lease", true);
  std::vector<std::string> lost;
  for (const auto& [id, until] : orphans_) {
    const auto* job = ledger.find(id);
    if (now > until && job != nullptr && !job->gang_instance.empty()) lost.push_back(id);
  }
  for (const auto& job : lost) {
    lose(ledger, job, "its gang did not come back after the service was started again", false);
  }
}

// A gang that is there but gets nowhere: its processes are ended where that is possible, and its
// job goes to another in any case.
void ServiceImpl::check_stalls(Ledger& ledger) {
  const auto now = steady_clock::now();
  for (auto& [name, gang] : gangs_) {
    if (gang.job.empty() || !gang.client) continue;
    const bool stalled = now - gang.progress_since > options_.stall_limit;
    const bool deaf = gang.cancel_sent && now - gang.cancel_since > kCancelPatience;
    if (!stalled && !deaf) continue;
    const std::string how =
        deaf ? "it did not stop when it was told to"
             : fmt::format("it made no progress for {:.0f} s", seconds_since(gang.progress_since));
    server_->disconnect(*gang.client, how);
    if (options_.kill_gang) {
      post_side([kill = options_.kill_gang, name] { kill(name); });
    }
    gang.client.reset();
    gang.lost_since = now;
    drop_gang(ledger, name, how, true);
  }
}

void ServiceImpl::check_deadlines(Ledger& ledger) {
  const auto now = unix_now();
  for (const auto state : {JobState::kQueued, JobState::kInProgress}) {
    for (const auto& record : table_.in_state(state)) {
      const auto& deadline = record->view.submission.deadline;
      if (!deadline || now < *deadline || record->assembling || record->cancel_requested) continue;
      const auto* job = ledger.find(record->view.id);
      if (job == nullptr || job->final() || job->cancel_requested) continue;
      const std::string id = record->view.id;
      const bool endless = job->view.submission.endless;
      auto* gang = gang_running(id, job->view.attempt);
      if (endless && gang != nullptr) {
        auto& changed = ledger.edit(id);
        changed.cancel_requested = changed.ends_completed = true;
        cancel_on_gang(ledger, *gang, "limit");
      } else if (endless && !artifacts_of(id, "segment").empty()) {
        begin_assembly(ledger, id);
      } else {
        if (gang != nullptr) cancel_on_gang(ledger, *gang, "deadline");
        end_job(ledger, id, JobState::kFailed,
                JobFailure{"deadline_exceeded", "it was not finished at its deadline"});
      }
    }
  }
}

bool ServiceImpl::anyone_free() const {
  return std::any_of(gangs_.begin(), gangs_.end(),
                     [](const auto& entry) { return entry.second.idle(); });
}

void ServiceImpl::reschedule(Ledger& ledger) {
  ledger.after([this] {
    schedule_due_ = true;
    if (anyone_free()) post_background([](Ledger&) {}, false);  // does not wait for the next tick
  });
}

void ServiceImpl::schedule(Ledger& ledger) {
  std::vector<scheduling::WaitingJob> jobs;
  std::map<std::string, std::string> notes;
  for (const auto state : {JobState::kQueued, JobState::kInProgress}) {
    for (const auto& record : table_.in_state(state)) {
      const auto* job = ledger.find(record);
      if (job == nullptr || !job->waits()) continue;
      const auto& s = job->view.submission;
      jobs.push_back(
          {job->view.id, s.request.model, s.priority, s.endless, job->arrival, job->lost_gang});
      if (job->view.attempt > 0) {
        notes[job->view.id] = fmt::format("attempt {} was lost; ", job->view.attempt);
      }
    }
  }
  std::vector<scheduling::GangOffer> offers;
  for (const auto& [name, gang] : gangs_) {
    const auto* runs = gang.job.empty() ? nullptr : ledger.find(gang.job);
    scheduling::GangOffer offer{
        name,
        gang.models,
        gang.loaded_model,
        gang.ranks,
        gang.idle() && !gang.draining,
        gang.job,
        runs != nullptr && runs->view.submission.endless && !gang.cancel_sent,
        ""};
    if (gang.draining) offer.unready_reason = "it is being drained";
    if (!gang.client) offer.unready_reason = "its link is lost";
    offers.push_back(std::move(offer));
  }
  const auto decision = scheduling::decide(std::move(jobs), std::move(offers));
  for (const auto& start : decision.starts) {
    start_attempt(ledger, start.job, gangs_.at(start.gang));
  }
  for (const auto& id : decision.preempt) {
    const auto* job = ledger.find(id);
    if (job == nullptr) continue;
    if (auto* gang = gang_running(id, job->view.attempt)) cancel_on_gang(ledger, *gang, "preempt");
  }
  QueuePlaces places;
  for (const auto& place : decision.waiting) {
    places[place.job] = {place.position, notes[place.job] + place.reason};
  }
  // A job submitted in this batch becomes visible after its commit, its place with it.
  ledger.after([this, places = std::move(places)] { table_.set_places(places); });
  schedule_due_ = false;
  next_schedule_ = steady_clock::now() + kPlacesInterval;
  if (!decision.starts.empty()) reschedule(ledger);
  for (auto& [name, gang] : gangs_) {
    if (gang.draining && gang.idle()) send(gang, {{"type", "gang.end"}, {"reason", "drained"}});
  }
}

void ServiceImpl::start_attempt(Ledger& ledger, const std::string& id, Gang& gang) {
  auto& job = ledger.edit(id);
  job.view.state = JobState::kInProgress;
  job.view.attempt += 1;
  job.view.gang = gang.name;
  if (!job.view.started_at) job.view.started_at = unix_now();
  job.gang_instance = gang.instance;
  const int attempt = job.view.attempt;
  gang.job = id;
  gang.attempt = attempt;
  gang.start_unsaved = true;
  gang.cancel_sent = false;
  gang.phase = kStarting;
  gang.share_before = job.view.progress * 0.01;
  gang.attempt_since = gang.progress_since = steady_clock::now();
  ledger.label("attempt");
  if (attempt == 1) ledger.event(id, "state", {{"state", "in_progress"}});
  ledger.event(id, "attempt", {{"attempt", attempt}, {"state", "started"}, {"gang", gang.name}});
  ledger.write([id, attempt, name = gang.name](JobStore& store) {
    store.put_attempt({id, attempt, name, unix_now(), 0, ""});
  });
  // The number is durable before any gang hears it.
  ledger.after([this, id, name = gang.name] {
    const auto found = gangs_.find(name);
    const auto record = table_.find(id);
    if (found == gangs_.end() || !record) return;
    found->second.start_unsaved = false;
    ++counters_.attempts;
    send_start(*record, found->second);
  });
}

// On the side thread: records are read there.
void ServiceImpl::send_start(const JobRecord& job, const Gang& gang) {
  const auto client = gang.client;
  if (!client) return;
  Json header = {{"type", "attempt.start"},
                 {"job", job.view.id},
                 {"attempt", job.view.attempt},
                 {"request", to_json(job.view.submission.request)},
                 {"endless", job.view.submission.endless},
                 {"files", inputs_of(job.view.id)}};
  Json state = {{"identity", job.identity.empty() ? Json(nullptr) : Json::parse(job.identity)},
                {"segments", Json::array()},
                {"records", Json::array()}};
  for (const auto& segment : artifacts_of(job.view.id, "segment")) {
    const auto detail = Json::parse(segment.detail);
    state["segments"].push_back({{"first_frame", segment.first_frame},
                                 {"end_frame", segment.end_frame},
                                 {"latents", detail.at("latents")},
                                 {"notes", detail.at("notes")}});
  }
  post_side([this, client = *client, id = job.view.id, identity = job.identity,
             header = std::move(header), state = std::move(state)]() mutable {
    for (const auto& key : records_.keys(id, identity))
      state["records"].push_back({key.at, key.level});
    const auto text = state.dump();
    const auto bytes = std::as_bytes(std::span(text));
    server_->send(client, {header, {bytes.begin(), bytes.end()}});
  });
}

}  // namespace seamwright::coordinator
