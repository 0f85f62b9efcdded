// The service behind the HTTP surface: store, queue, gangs and files, as one JobService.
// Threads: all calls from any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "coordinator/job_service.h"

namespace seamwright::coordinator {

struct ServiceOptions {
  std::filesystem::path data;  // everything durable lies in here; one service at a time
  std::string control_host = "127.0.0.1";
  std::uint16_t control_port = 0;  // 0 = a free one
  std::string token;               // gangs prove that they know it
  // Resolves every default of a request and refuses what the engine cannot do, by Error. Files that
  // it starts from are paths here. `as_long_as_input`: its frames are those of its input video.
  std::function<JobRequest(const JobRequest&, bool as_long_as_input)> check;
  std::function<nlohmann::json()> models;        // for JobService::models()
  int queue_limit = 1000;                        // jobs waiting at once; more are refused
  std::int64_t input_bytes_max = 8LL << 30;      // of all files that jobs start from
  std::int64_t retention_s = 7 * 86400;          // a finished file is kept this long
  std::int64_t record_retention_s = 30 * 86400;  // a job's record is kept this long after its end
  // A gang that was not heard of for the lease has lost its job. A gang ends itself earlier.
  std::chrono::milliseconds lease{12000};
  std::chrono::milliseconds silence_limit{5000};
  // No progress for longer than this, beyond loading, is a failure of the gang.
  std::chrono::milliseconds stall_limit{300000};
  int losses_max = 3;  // gangs lost in a row with nothing new durable before a job fails
  // Before a video that could not be put together is tried again; twice as long each time.
  std::chrono::milliseconds assembly_pause{1000};
  // Ends the processes of a local gang for good; false if the gang is not local.
  std::function<bool(const std::string& gang)> kill_gang;
};

class Service : public JobService {
 public:
  virtual std::uint16_t control_port() const = 0;
  // Marks this service's processes (see Supervisor).
  virtual const std::string& service_id() const = 0;
  // The processes of a local gang have ended, all of them: what it ran is free at once. `blame`: it
  // may be the job's fault.
  virtual void gang_ended(const std::string& gang, const std::string& how, bool blame) = 0;
  // Refuses further calls, finishes what is under way, and closes the links. Gangs go on for their
  // lease.
  virtual void stop() = 0;
};

// Opens the store and puts it in order. Throws kUnavailable when another service holds the folder.
std::unique_ptr<Service> make_service(ServiceOptions options);

}  // namespace seamwright::coordinator
