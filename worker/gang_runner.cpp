#include "worker/gang_runner.h"

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <random>

#include "base/error.h"
#include "base/log.h"
#include "base/version.h"
#include "worker/attempt_reports.h"
#include "worker/gang_job.h"
#include "worker/remote_files.h"
#include "worker/remote_store.h"

namespace seamwright::worker {
namespace {

using Json = nlohmann::json;

std::string random_hex() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}", device(), device());
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof(name) - 1) == 0 ? name : "unknown";
}

// The names of all hosts, each once; every rank calls it.
std::vector<std::string> all_hosts(comm::Fabric* fabric) {
  const auto own = host_name();
  std::vector<std::string> hosts;
  if (fabric == nullptr) return {own};
  for (const auto& bytes : fabric->all_gather(std::as_bytes(std::span(own)))) {
    const std::string host(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (std::find(hosts.begin(), hosts.end(), host) == hosts.end()) hosts.push_back(host);
  }
  return hosts;
}

// An attempt as the coordinator hands it out.
struct Start {
  AttemptName name;
  Json asked;  // the request as it is stored; checked when the attempt runs
  JobRequest request;
  bool endless = false;
  Json left;   // by earlier attempts
  Json files;  // that the request starts from
};

Start start_from(const comm::ControlMessage& message) {
  Start start;
  start.name = {message.header.at("job").get<std::string>(),
                message.header.at("attempt").get<int>()};
  start.asked = message.header.at("request");
  start.endless = message.header.value("endless", false);
  start.files = message.header.value("files", Json::array());
  const auto* text = reinterpret_cast<const char*>(message.payload.data());
  start.left = Json::parse(text, text + message.payload.size());
  return start;
}

// A service stores only what it has checked, with every size filled in. A store that something else
// wrote must not end the gang.
JobRequest checked_request(const Json& asked) {
  auto request = job_request_from_json(asked);
  validate(request);
  require(
      request.width > 0 && request.height > 0,
      "the stored job has the size {}x{}: a stored job names its size, at least 16x16; submit it "
      "again",
      request.width, request.height);
  return request;
}

// Rank 0: everything that happens between the coordinator and the ranks.
class GangLeader {
 public:
  GangLeader(const GangOptions& options, comm::Fabric* fabric, std::vector<std::string> hosts)
      : options_(options), fabric_(fabric) {
    about_ = {{"gang", options.name},      {"instance", random_hex()},
              {"version", kVersion},       {"fingerprint", numerics_fingerprint("auto", "fp32")},
              {"models", options.models},  {"layout", scheduling::to_string(options.layout)},
              {"hosts", std::move(hosts)}, {"pid", ::getpid()}};
    GangLink::Handlers handlers;
    handlers.about = [this] { return about(); };
    handlers.message = [this](const comm::ControlMessage& message) { handle(message); };
    handlers.expired = [this](const std::string& why) { options_.end_process(why); };
    link_ = std::make_unique<GangLink>(options.link, std::move(handlers));
  }

  void run() {
    while (auto start = wait_start()) {
      run_attempt(*start);
      link_->forget();
      auto header = attempt_header("gang.idle", start->name);
      header["loaded_model"] = start->request.model;
      {
        const std::lock_guard lock(mutex_);
        running_.reset();
        loaded_model_ = start->request.model;
      }
      link_->tell(std::move(header));
    }
    if (fabric_ != nullptr) {
      comm::Bytes end;
      fabric_->broadcast(0, end);
    }
    link_->close(std::chrono::milliseconds(2000));
  }

 private:
  Json about() {
    const std::lock_guard lock(mutex_);
    Json about = about_;
    about["loaded_model"] = loaded_model_;
    if (running_) about["running"] = {{"job", running_->job}, {"attempt", running_->attempt}};
    return about;
  }

  std::optional<Start> wait_start() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return next_ || ending_; });
    if (!next_) return std::nullopt;
    auto start = std::move(next_);
    next_.reset();
    return start;
  }

  // On the link's thread.
  void handle(const comm::ControlMessage& message) {
    const auto type = message.type();
    if (type == "gang.end") {
      const std::lock_guard lock(mutex_);
      ending_ = true;
      changed_.notify_all();
      return;
    }
    if (type == "attempt.start") {
      auto start = start_from(message);
      const std::lock_guard lock(mutex_);
      if (running_) return;  // told before the coordinator knew; it will be told otherwise
      running_ = start.name;
      next_ = std::move(start);
      stop_.store(false);
      why_.clear();
      changed_.notify_all();
      return;
    }
    std::shared_ptr<RemoteStore> store;
    std::shared_ptr<RemoteFiles> files;
    {
      const std::lock_guard lock(mutex_);
      const AttemptName name{message.header.value("job", ""), message.header.value("attempt", 0)};
      if (!running_ || *running_ != name) return;
      store = store_;
      files = files_;
      if (type == "attempt.cancel" && why_.empty()) {
        why_ = message.header.value("why", "cancel");
        stop_.store(true);
      }
    }
    if (type == "attempt.closed") {
      link_->acknowledged("end");
    } else if (type == "attempt.cancel") {
      const auto why = "stopped: " + message.header.value("why", "cancel");
      if (store) store->end(why);
      if (files) files->end(why);
    } else if (message.header.contains("file")) {
      if (files) files->handle(message);
    } else if (store) {
      store->handle(message);
    }
  }

  void run_attempt(Start& start) {
    GenerateOptions options;
    options.layout = options_.layout;
    options.threads = options_.threads;
    options.rank_on_host = options_.rank_on_host;
    options.fabric_note = options_.fabric_note;
    options.costs = options_.costs;
    options.stop = &stop_;
    options.models = models_;
    options.run = ++run_;
    options.tell_tasks = true;
    options.join_segments = false;
    options.out = options_.scratch / "video.mp4";
    Json end;
    comm::Bytes payload;
    // What fails once the other ranks work on the job leaves them somewhere in the middle of it; a
    // stop does not.
    bool together = false, broken = false;
    try {
      options.request = start.request = checked_request(start.asked);
      options.model_folder = options_.find_model(start.request.model);
      fetch_files(start, options.request);
      if (fabric_ != nullptr) {
        const auto text = to_gang_job(options);
        const auto bytes = std::as_bytes(std::span(text));
        comm::Bytes job(bytes.begin(), bytes.end());
        together = true;
        fabric_->broadcast(0, job);
      }
      const auto result = compute(start, options);
      if (result.complete) {
        end = attempt_header("attempt.done", start.name);
        payload = end_report(result);
      } else {
        end = attempt_header("attempt.cancelled", start.name);
        broken = fabric_ != nullptr && fabric_->aborted();
      }
    } catch (const Error& error) {
      end = error.code() == ErrorCode::kCancelled ? attempt_header("attempt.cancelled", start.name)
                                                  : failure_report(start.name, error);
      broken = together;
    } catch (const std::exception& error) {
      end = failure_report(start.name, Error(ErrorCode::kInternal, error.what()));
      broken = together;
    }
    std::string why;
    {
      const std::lock_guard lock(mutex_);
      store_.reset();
      files_.reset();
      why = why_;
    }
    // Answers to what a stop left under way find nobody any more: they would be waited for in vain.
    link_->forget_unanswered();
    // Nobody waits for the end of an attempt that is another's now.
    if (why != "stale") {
      if (!why.empty()) end["why"] = why;
      link_->deliver("end", std::move(end), std::move(payload));
      link_->wait_delivered(options_.link.lease);
    }
    if (broken) {
      link_->close(std::chrono::milliseconds(2000));
      fail(ErrorCode::kUnavailable, "the ranks have to be started again after {}",
           why.empty() ? "a failure" : "a stop");
    }
  }

  // What the job starts from, into this gang's folder.
  void fetch_files(const Start& start, JobRequest& request) {
    auto files = std::make_shared<RemoteFiles>(*link_, start.name, start.files, options_.scratch);
    {
      const std::lock_guard lock(mutex_);
      if (!why_.empty()) fail(ErrorCode::kCancelled, "stopped: {}", why_);
      files_ = files;
    }
    files->localize(request);
  }

  GenerateResult compute(const Start& start, GenerateOptions& options) {
    options.open_store = [this, &start](const DurableIdentity& identity) {
      auto store =
          std::make_shared<RemoteStore>(*link_, start.name, start.left, identity, options_.scratch);
      const std::lock_guard lock(mutex_);
      store_ = store;
      if (!why_.empty()) store->end("stopped: " + why_);  // it was not there to be told
      return std::make_unique<SharedStore>(store);
    };
    AttemptReports reports(*link_, start.name, start.request);
    auto hooks = reports.hooks();
    hooks.lost = [this](const Error& error) { options_.end_process(error.what()); };
    return fabric_ == nullptr ? generate(options, hooks)
                              : generate_as_rank(options, hooks, 0, fabric_);
  }

  const GangOptions& options_;
  comm::Fabric* fabric_;
  Json about_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Start> next_;
  std::optional<AttemptName> running_;
  std::shared_ptr<RemoteStore> store_;
  std::shared_ptr<RemoteFiles> files_;
  std::string loaded_model_, why_;
  bool ending_ = false;
  std::atomic<bool> stop_{false};
  std::uint32_t run_ = 0;
  const std::shared_ptr<ModelCache> models_ = std::make_shared<ModelCache>();
  std::unique_ptr<GangLink> link_;  // last: its threads use everything above
};

// A rank that is not 0: does what rank 0 is told.
void follow_leader(const GangOptions& options, comm::Fabric& fabric) {
  const auto models = std::make_shared<ModelCache>();
  while (true) {
    comm::Bytes job;
    fabric.broadcast(0, job);
    if (job.empty()) return;
    auto each = parse_gang_job({reinterpret_cast<const char*>(job.data()), job.size()});
    each.model_folder = options.find_model(each.request.model);
    each.models = models;
    each.rank_on_host = options.rank_on_host;
    try {
      generate_as_rank(each, {}, fabric.rank(), &fabric);
    } catch (const Error& error) {
      // Stopped, all ranks together: the next job comes to the same ranks.
      if (error.code() != ErrorCode::kCancelled || fabric.aborted()) throw;
    }
  }
}

}  // namespace

std::string numerics_fingerprint(const std::string& device, const std::string& precision) {
  return numerics_of(*make_backend(device, precision, 1));
}

void run_gang(const GangOptions& options, comm::Fabric* fabric) {
  auto hosts = all_hosts(fabric);
  if (fabric != nullptr && fabric->rank() != 0) return follow_leader(options, *fabric);
  GangLeader(options, fabric, std::move(hosts)).run();
}

}  // namespace seamwright::worker
