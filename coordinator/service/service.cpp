#include "coordinator/service/service.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "coordinator/service/service_impl.h"

namespace seamwright::coordinator {
namespace {

constexpr std::chrono::milliseconds kTick{200};

}  // namespace

ServiceImpl::ServiceImpl(ServiceOptions options)
    : options_(std::move(options)),
      folder_(options_.data),
      store_(folder_.job_store()),
      records_(folder_.record_store()),
      ledger_(store_, table_, *hub_) {
  require(!options_.token.empty(), "gangs need a token to prove: it must not be empty");
  load();
  side_ = std::make_unique<SideThread>();
  joiner_ = std::make_unique<SideThread>();
  work_ = std::make_unique<WorkThread>(
      ledger_, [this](Ledger& l) { tick(l); }, kTick);
  start_server();
  // What was being put together when the last process ended.
  for (const auto& job : table_.in_state(JobState::kInProgress)) {
    if (job->assembling) post_assembly(job->view.id);
  }
  // Last: its work uses all of the above.
  work_->start();
}

ServiceImpl::~ServiceImpl() { stop(); }

// Puts the folder and the tables in order: nothing that was not committed survives.
void ServiceImpl::load() {
  std::set<std::string> files, jobs;
  for (auto& artifact : store_.artifacts()) {
    files.insert(artifact.file);
    artifacts_[artifact.job].push_back(std::move(artifact));
  }
  const auto lease_over = std::chrono::steady_clock::now() + options_.lease;
  for (auto& record : store_.jobs()) {
    jobs.insert(record.view.id);
    next_arrival_ = std::max(next_arrival_, record.arrival + 1);
    if (!record.final() && !record.gang_instance.empty()) orphans_[record.view.id] = lease_over;
    table_.put(std::make_shared<const JobRecord>(std::move(record)));
  }
  for (auto& key : store_.keys()) {
    const std::string name = key.owner + '\n' + key.key;
    keys_[name] = std::move(key);
  }
  folder_.keep_only(files, jobs);
  for (const auto& job : records_.jobs()) {
    const auto record = table_.find(job);
    if (!record || record->final()) records_.remove_all(job);
  }
}

void ServiceImpl::start_server() {
  comm::ControlOptions control;
  control.token = options_.token;
  control.silence_limit = options_.silence_limit;
  control.heartbeat_interval = std::min(control.heartbeat_interval, options_.silence_limit / 3);
  comm::ControlServer::Handlers handlers;
  handlers.joined = [this](Client client, const Json& about) {
    work_->post([this, client, about](Ledger& ledger) { joined(ledger, client, about); },
                {.urgent = true, .retry = true, .done = {}});
  };
  handlers.message = [this](Client client, Message message) {
    // Progress and the like share a commit; ends of attempts do not wait.
    const auto type = message.type();
    const bool urgent = type != "attempt.progress" && type != "attempt.preview" &&
                        type != "attempt.timeline" && type != "attempt.log";
    auto shared = std::make_shared<const Message>(std::move(message));
    work_->post([this, client, shared](Ledger& ledger) { received(ledger, client, shared); },
                {.urgent = urgent, .retry = urgent, .done = {}});
  };
  handlers.left = [this](Client client, const comm::ControlEnd& end) {
    work_->post([this, client, end](Ledger& ledger) { left(ledger, client, end); },
                {.urgent = true, .retry = true, .done = {}});
  };
  server_ = std::make_unique<comm::ControlServer>(options_.control_host, options_.control_port,
                                                  control, std::move(handlers));
  log_info("gangs may connect to {}:{}", options_.control_host, server_->port());
}

void ServiceImpl::stop() {
  if (stopped_.exchange(true)) return;
  // Work that is under way still sends; afterwards nothing posts any more. Videos that are being
  // put together are given up: their result could not be stored any more, and they begin again.
  work_->stop();
  joiner_->stop();
  side_->stop();
  server_.reset();
}

void ServiceImpl::post_side(std::function<void()> work) { side_->post(std::move(work)); }

void ServiceImpl::post_background(WorkThread::Work work, bool retry) {
  work_->post(std::move(work), {.urgent = true, .retry = retry, .done = {}});
}

std::unique_ptr<Service> make_service(ServiceOptions options) {
  return std::make_unique<ServiceImpl>(std::move(options));
}

}  // namespace seamwright::coordinator
