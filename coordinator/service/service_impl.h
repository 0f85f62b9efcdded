// The service's inside. Private to the folder; one class, its parts in service_submit.cpp (how a
// job is accepted), service_jobs.cpp (what else the HTTP surface calls), service_gangs.cpp (who is
// there), service_schedule.cpp (what runs where), service_attempts.cpp (what gangs report),
// service_inputs.cpp (what jobs start from) and service_files.cpp (segments, videos, retention).
// Threads: members without a lock of their own belong to the work thread.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "comm/control/link.h"
#include "coordinator/service/data_folder.h"
#include "coordinator/service/event_hub.h"
#include "coordinator/service/gang.h"
#include "coordinator/service/job_table.h"
#include "coordinator/service/ledger.h"
#include "coordinator/service/service.h"
#include "coordinator/service/side_thread.h"
#include "coordinator/service/timelines.h"
#include "coordinator/service/work_thread.h"
#include "coordinator/store/job_store.h"
#include "coordinator/store/record_store.h"

namespace seamwright::coordinator {

class ServiceImpl final : public Service {
 public:
  explicit ServiceImpl(ServiceOptions options);
  ~ServiceImpl() override;

  JobView submit(const Submission& submission) override;
  JobView get(const std::string& id, const std::string& owner) override;
  JobPage list(const std::string& after, int limit, bool ascending,
               const std::string& owner) override;
  JobView cancel(const std::string& id, const std::string& owner) override;
  void remove(const std::string& id, const std::string& owner) override;
  std::filesystem::path video(const std::string& id, const std::string& owner) override;
  std::filesystem::path video_file(const std::string& id, const std::string& owner) const;
  std::filesystem::path preview(const std::string& id, const std::string& owner) override;
  Segments segments(const std::string& id, const std::string& owner) override;
  nlohmann::json timeline(const std::string& id, const std::string& owner) override;
  std::unique_ptr<Subscription> subscribe(const std::string& job, const std::string& owner,
                                          std::uint64_t after_sequence,
                                          std::function<void(const JobEvent&)> handler) override;
  nlohmann::json models() override;
  nlohmann::json cluster() override;
  HealthView health() override;
  void drain(const std::string& gang) override;
  std::vector<Metric> metrics() override;

  std::uint16_t control_port() const override { return server_->port(); }
  const std::string& service_id() const override { return store_.service_id(); }
  void gang_ended(const std::string& gang, const std::string& how, bool blame) override;
  void stop() override;

 private:
  using Json = nlohmann::json;
  using Client = comm::ControlServer::ClientId;
  using Message = comm::ControlMessage;
  using MessagePtr = std::shared_ptr<const Message>;
  using ArtifactList = std::vector<Artifact>;

  // Start-up.
  void load();
  void start_server();

  // service_submit.cpp
  static std::string key_name(const Submission& submission);
  std::string known_key(Ledger& ledger, const Submission& submission, const std::string& hash);
  void check_room(Ledger& ledger, const Submission& submission) const;

  // service_jobs.cpp
  JobTable::RecordPtr owned(const std::string& id, const std::string& owner) const;
  void end_job(Ledger& ledger, const std::string& id, JobState state,
               std::optional<JobFailure> failure, bool keep_segments = false);
  void discard_durable(Ledger& ledger, const std::string& id, bool segments);

  // service_schedule.cpp
  void tick(Ledger& ledger);
  void schedule(Ledger& ledger);
  // What waits and who is free has changed, once this batch is durable.
  void reschedule(Ledger& ledger);
  bool anyone_free() const;
  void start_attempt(Ledger& ledger, const std::string& job, Gang& gang);
  void send_start(const JobRecord& job, const Gang& gang);
  void check_leases(Ledger& ledger);
  void check_stalls(Ledger& ledger);
  void check_deadlines(Ledger& ledger);

  // service_gangs.cpp
  void joined(Ledger& ledger, Client client, const Json& about);
  void left(Ledger& ledger, Client client, const comm::ControlEnd& end);
  void reattach(Ledger& ledger, Gang& gang, const Json& running);
  void drop_gang(Ledger& ledger, const std::string& name, const std::string& how, bool blame);
  static void count_against(JobRecord& job, const std::string& phase);
  // `code`: what the gang called it, if it said anything.
  void lose(Ledger& ledger, const std::string& job, const std::string& how, bool blame,
            const std::string& code = "");
  void cancel_on_gang(Ledger& ledger, Gang& gang, const std::string& why);
  Gang* gang_of(Client client);
  Gang* gang_running(const std::string& job, int attempt);
  void send(const Gang& gang, Json header, comm::Bytes payload = {});
  void publish_cluster();

  // service_attempts.cpp
  static std::shared_ptr<const comm::Bytes> payload_of(const MessagePtr& message);
  void received(Ledger& ledger, Client client, const MessagePtr& message);
  bool is_current(Ledger& ledger, const Gang& gang, const std::string& job, int attempt) const;
  void on_idle(Ledger& ledger, Gang& gang, const Json& header);
  void on_progress(Ledger& ledger, Gang& gang, const Json& header);
  void on_preview(Ledger& ledger, const Gang& gang, const MessagePtr& message);
  void on_identity(Ledger& ledger, const Gang& gang, const Json& header);
  void on_record(Ledger& ledger, const Gang& gang, const MessagePtr& message);
  void on_drop(Ledger& ledger, const Gang& gang, const Json& header);
  void on_fetch(Ledger& ledger, const Gang& gang, const Json& header);
  void forget_damaged(const std::string& job, RecordStore::Key key);
  void on_done(Ledger& ledger, Gang& gang, const Message& message);
  void on_failed(Ledger& ledger, const Gang& gang, const Json& header);
  void on_cancelled(Ledger& ledger, const Gang& gang, const Json& header);

  // service_inputs.cpp
  // Durable files for everything that the submission starts from; they count once committed.
  ArtifactList take_inputs(const std::string& id, const Submission& submission) const;
  void store_input(const Submission& submission, const std::string& name,
                   const std::string& file) const;
  void drop_inputs(const ArtifactList& inputs) const;
  std::int64_t input_bytes() const;
  JobRequest checked(const Submission& submission, JobRequest request,
                     const ArtifactList& inputs) const;
  Json inputs_of(const std::string& job) const;
  void on_fetch_file(Ledger& ledger, const Gang& gang, const Json& header);

  // service_files.cpp
  void on_segment(Ledger& ledger, const Gang& gang, const MessagePtr& message);
  void commit_segment(Ledger& ledger, Client client, const Artifact& artifact);
  // All segments there will be are durable: puts them together, away from this thread.
  void begin_assembly(Ledger& ledger, const std::string& id);
  void post_assembly(const std::string& id);
  void assemble(const std::string& id);
  void assembly_failed(Ledger& ledger, const std::string& id, const JobFailure& failure,
                       bool for_good);
  void retry_assemblies();
  void assembled(const Artifact& video, const std::string& latents_sha256);
  std::int64_t segments_kept(JobState state) const;
  void forget_job(Ledger& ledger, const std::string& id);
  // Retention of the jobs that have files, now and then of all.
  void expire_soon(Ledger& ledger);
  void expire(Ledger& ledger, const std::vector<JobTable::RecordPtr>& jobs);
  ArtifactList artifacts_of(const std::string& job, const std::string& kind) const;
  void remember(Ledger& ledger, const Artifact& artifact);
  void forget_artifacts(Ledger& ledger, const std::string& job, const std::string& kind);
  void post_side(std::function<void()> work);
  void post_background(WorkThread::Work work, bool retry);
  // An answer to a message of an attempt.
  void answer(Client client, const std::string& type, const std::string& job, int attempt,
              Json more = Json::object(), comm::Bytes payload = {});

  const ServiceOptions options_;
  DataFolder folder_;
  JobStore store_;
  RecordStore records_;  // the side thread's, after start-up
  JobTable table_;
  std::shared_ptr<EventHub> hub_ = std::make_shared<EventHub>();
  Ledger ledger_;
  Timelines timelines_;

  std::map<std::string, Gang> gangs_;  // by name
  // Attempts whose gang was not heard of since this process started: job -> when that is a loss.
  std::map<std::string, SteadyTime> orphans_;
  std::unordered_map<std::string, IdempotencyKey> keys_;
  // Videos that could not be put together yet.
  struct AssemblyFailures {
    int tries = 0;
    std::optional<SteadyTime> again;  // none while it is being tried
  };
  std::map<std::string, AssemblyFailures> assembly_failures_;
  std::int64_t next_arrival_ = 1;
  bool schedule_due_ = true, drain_all_ = false;
  SteadyTime next_slow_checks_{}, next_schedule_{}, next_full_expiry_{};

  mutable std::mutex artifacts_mutex_;
  std::unordered_map<std::string, ArtifactList> artifacts_;  // by job; what is committed

  mutable std::mutex cluster_mutex_;
  Json cluster_ = Json::object();
  int gangs_ready_ = 0, gangs_busy_ = 0;

  struct Counters {
    std::atomic<std::int64_t> submitted{0}, completed{0}, failed{0}, cancelled{0}, attempts{0};
    std::atomic<std::int64_t> losses{0}, segments{0}, records{0}, record_bytes{0}, frames{0};
    std::atomic<std::int64_t> stale{0};
  } counters_;

  std::atomic<bool> stopped_{false};
  std::unique_ptr<SideThread> side_;
  std::unique_ptr<SideThread> joiner_;  // puts videos together: minutes for a long one
  std::unique_ptr<WorkThread> work_;
  std::unique_ptr<comm::ControlServer> server_;
};

// An Error of request checking as the API says it: 400, with the field it is about.
ApiError refusal(const Error& error);

}  // namespace seamwright::coordinator
