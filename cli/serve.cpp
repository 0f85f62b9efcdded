// `seamwright serve`: the coordinator, with a local gang unless told otherwise.
#include <fmt/core.h>
#include <signal.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/gang_command.h"
#include "cli/service_models.h"
#include "coordinator/http/server.h"
#include "coordinator/service/service.h"
#include "coordinator/supervisor/supervisor.h"

namespace seamwright::cli {
namespace {

struct ServeFlags {
  coordinator::ServiceOptions service;
  coordinator::http::ServerOptions http;
  std::string data = "seamwright-data", token_file, api_key_file;
  LocalGangOptions gang;
  int gangs = 1, window_parallel = 1, pipeline_parallel = 1;
  int lease_ms = 12000, retention_days = 7;
  bool no_local_gang = false;
};

// Gangs must give up before their coordinator does.
constexpr int kLeaseMargin_ms = 3000;

// Blocked before any thread is started, so that all threads inherit it and sigwait gets them.
sigset_t block_stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return signals;
}

std::unique_ptr<coordinator::Supervisor> start_gangs(const ServeFlags& flags,
                                                     coordinator::Service& service) {
  coordinator::SupervisorOptions options;
  options.mark = service.service_id();
  options.ended = [&service](const std::string& gang, const std::string& how, bool by_us) {
    service.gang_ended(gang, how, !by_us);
  };
  auto gang = flags.gang;
  gang.control_host = flags.service.control_host;
  gang.control_port = service.control_port();
  for (int i = 0; i < flags.gangs && !flags.no_local_gang; ++i) {
    const std::string name = fmt::format("local-{}", i);
    options.gangs.push_back({name, local_gang_command(gang, name)});
  }
  return std::make_unique<coordinator::Supervisor>(std::move(options));
}

int run(ServeFlags& flags) {
  const auto signals = block_stop_signals();
  if (const char* names = std::getenv("SEAMWRIGHT_FAILPOINTS")) arm_failpoints(names);
  require(flags.lease_ms > 2 * kLeaseMargin_ms, "lease-ms is {}, but must be more than {}",
          flags.lease_ms, 2 * kLeaseMargin_ms);
  flags.gang.layout = {flags.window_parallel, flags.pipeline_parallel, flags.gang.layout.folded};
  flags.gang.lease_ms = flags.lease_ms - kLeaseMargin_ms;
  const auto data = std::filesystem::absolute(flags.data);
  flags.gang.token_file =
      flags.token_file.empty() ? data / "gang-token" : std::filesystem::absolute(flags.token_file);
  ServiceModels models;
  auto& options = flags.service;
  options.data = data;
  options.token = make_token(flags.gang.token_file);
  options.lease = std::chrono::milliseconds(flags.lease_ms);
  options.retention_s = std::int64_t{flags.retention_days} * 86400;
  options.check = [&models](const JobRequest& request, bool as_long_as_input) {
    return models.check(request, as_long_as_input);
  };
  options.models = [&models] { return models.list(); };
  std::shared_ptr<coordinator::Supervisor> supervisor;
  options.kill_gang = [&supervisor](const std::string& gang) {
    return supervisor && supervisor->kill(gang);
  };
  if (!flags.api_key_file.empty()) {
    flags.http.api.keys = coordinator::http::ApiKeys::from_file(flags.api_key_file);
  }
  const auto service = coordinator::make_service(options);
  coordinator::http::Server server(*service, std::move(flags.http));
  supervisor = start_gangs(flags, *service);
  fmt::print("{}\n", server.url());
  std::fflush(stdout);
  int signal = 0;
  sigwait(&signals, &signal);
  log_info("stopping");
  server.stop();
  supervisor->stop();
  service->stop();
  return 0;
}

void add_options(CLI::App& verb, ServeFlags& flags) {
  verb.add_option("--data", flags.data, "folder for everything durable")
      ->envname("SEAMWRIGHT_DATA")
      ->capture_default_str();
  verb.add_option("--host", flags.http.host, "address to listen on")
      ->envname("SEAMWRIGHT_HOST")
      ->capture_default_str();
  verb.add_option("--port", flags.http.port, "port; 0 = a free one")
      ->envname("SEAMWRIGHT_PORT")
      ->capture_default_str();
  verb.add_option("--api-key-file", flags.api_key_file, "file with API keys")
      ->envname("SEAMWRIGHT_API_KEY_FILE");
  verb.add_option("--allowed-host", flags.http.api.allowed_hosts,
                  "name by which browsers may reach a service without API keys, beside localhost "
                  "and addresses; may be repeated")
      ->envname("SEAMWRIGHT_ALLOWED_HOST");
  verb.add_option("--gangs", flags.gangs, "local gangs")
      ->envname("SEAMWRIGHT_GANGS")
      ->check(CLI::Range(0, 64))
      ->capture_default_str();
  verb.add_flag("--no-local-gang", flags.no_local_gang, "only gangs that connect");
  verb.add_option("--window-parallel-size", flags.window_parallel,
                  "pipeline groups of a local gang")
      ->envname("SEAMWRIGHT_WINDOW_PARALLEL_SIZE")
      ->check(CLI::Range(1, 4096));
  verb.add_option("--pipeline-parallel-size", flags.pipeline_parallel, "stages of a local gang")
      ->envname("SEAMWRIGHT_PIPELINE_PARALLEL_SIZE")
      ->check(CLI::Range(1, 64));
  verb.add_flag("--folded", flags.gang.layout.folded, "stages of a local gang are folded");
  verb.add_option("--launcher", flags.gang.launcher, "of a local gang's ranks: auto, mpirun, none")
      ->envname("SEAMWRIGHT_LAUNCHER")
      ->capture_default_str();
  verb.add_option("--threads", flags.gang.threads, "CPU threads of a local gang's rank; 0 = all")
      ->envname("SEAMWRIGHT_THREADS")
      ->check(CLI::Range(0, 1024));
  verb.add_option("--control-host", flags.service.control_host, "address for gangs")
      ->envname("SEAMWRIGHT_CONTROL_HOST")
      ->capture_default_str();
  verb.add_option("--control-port", flags.service.control_port, "port for gangs; 0 = a free one")
      ->envname("SEAMWRIGHT_CONTROL_PORT");
  verb.add_option("--token-file", flags.token_file,
                  "the gangs' shared token; made in the data folder when not given")
      ->envname("SEAMWRIGHT_TOKEN_FILE");
  verb.add_option("--queue-limit", flags.service.queue_limit, "jobs that may wait")
      ->envname("SEAMWRIGHT_QUEUE_LIMIT")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  verb.add_option("--retention-days", flags.retention_days, "a finished file is kept this long")
      ->envname("SEAMWRIGHT_RETENTION_DAYS")
      ->check(CLI::Range(1, 36500))
      ->capture_default_str();
  verb.add_option("--losses-max", flags.service.losses_max,
                  "gangs a job may lose in a row, with nothing new durable, before it fails")
      ->envname("SEAMWRIGHT_LOSSES_MAX")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  verb.add_option("--lease-ms", flags.lease_ms, "a gang not heard of for this long lost its job")
      ->envname("SEAMWRIGHT_LEASE_MS")
      ->capture_default_str();
}

}  // namespace

void add_serve(CLI::App& app, Command& command) {
  auto* verb = app.add_subcommand("serve", "take jobs over HTTP and give them to gangs");
  const auto flags = std::make_shared<ServeFlags>();
  flags->http.port = 8000;
  add_options(*verb, *flags);
  verb->callback([flags, &command] { command.run = [flags] { return run(*flags); }; });
}

}  // namespace seamwright::cli
