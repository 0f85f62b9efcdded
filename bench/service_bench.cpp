#include "bench/service_bench.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "base/version.h"
#include "bench/service_load.h"
#include "coordinator/store/job_store.h"
#include "media/file_descriptor.h"
#include "media/files.h"

namespace seamwright::bench {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

// Far longer than the measurement.
constexpr int kFrames = 100'000;

struct ProcessUse {
  double cpu_s = 0;  // user and system, of children only those that have ended
  double rss_mb = 0;
};

// From /proc; zeros when the process is gone.
ProcessUse use_of(pid_t pid, bool with_children) {
  ProcessUse use;
  std::ifstream stat(fmt::format("/proc/{}/stat", pid));
  std::string text((std::istreambuf_iterator<char>(stat)), {});
  const auto name_end = text.rfind(')');
  if (name_end == std::string::npos) return use;
  std::istringstream fields(text.substr(name_end + 2));
  std::vector<std::string> all;
  for (std::string one; fields >> one;) all.push_back(one);
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  for (std::size_t i = 11; i < (with_children ? 15U : 13U); ++i) {
    use.cpu_s += std::strtod(all.at(i).c_str(), nullptr) / ticks;
  }
  use.rss_mb =
      std::strtod(all.at(21).c_str(), nullptr) * static_cast<double>(::sysconf(_SC_PAGESIZE)) / 1e6;
  return use;
}

// A connection is a file, here and in the service, which inherits this limit.
void allow_many_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

double load_average() {
  std::ifstream file("/proc/loadavg");
  double load = 0;
  file >> load;
  return load;
}

std::string job_id(int number) { return fmt::format("video_{:032x}", number + 1); }

// Puts jobs into a fresh store as a service would have left them.
std::vector<std::string> fill_store(const ServiceBenchOptions& options, const fs::path& data) {
  fs::create_directories(data);
  coordinator::JobStore store(data / "jobs.db");
  std::vector<std::string> ids;
  const auto now = static_cast<std::int64_t>(std::time(nullptr));
  store.commit([&] {
    for (int i = 0; i < options.stored; ++i) {
      coordinator::JobRecord record;
      auto& view = record.view;
      view.id = job_id(i);
      view.submission.request.model = options.model;
      view.submission.request.prompt = fmt::format("a red circle, number {}", i);
      // A submit fills in the model's size before it stores.
      view.submission.request.width = view.submission.request.height = 256;
      view.submission.priority = -100;
      view.created_at = now - options.stored + i;
      record.arrival = i + 1;
      if (i % 10 != 9) {
        view.state = coordinator::JobState::kFailed;
        view.error = coordinator::JobFailure{"cancelled", "cancelled on request"};
        view.completed_at = view.created_at + 1;
      }
      record.last_event = 2;
      store.put_job(record);
      for (std::uint64_t sequence : {1U, 2U}) {
        store.add_event({sequence, view.id, "state", {{"state", "queued"}}}, view.created_at);
      }
      ids.push_back(view.id);
    }
  });
  return ids;
}

// `seamwright serve` on a free port; its log lies in the data folder.
class Served {
 public:
  Served(const ServiceBenchOptions& options, const fs::path& data) {
    int output[2];
    ensure(::pipe2(output, O_CLOEXEC) == 0, "no pipe");
    const media::FileDescriptor read_end(output[0]);
    {
      const media::FileDescriptor write_end(output[1]);
      start(options, data, write_end.get());
    }
    std::string line;
    char one = 0;
    while (::read(read_end.get(), &one, 1) == 1 && one != '\n') line.push_back(one);
    const auto colon = line.rfind(':');
    require(colon != std::string::npos, "the service did not start: see {}",
            (data / "serve.log").string());
    port_ = static_cast<std::uint16_t>(std::atoi(line.c_str() + colon + 1));
  }
  ~Served() {
    ::kill(pid_, SIGKILL);  // its gang dies with it
    ::waitpid(pid_, nullptr, 0);
  }
  Served(const Served&) = delete;
  Served& operator=(const Served&) = delete;

  std::uint16_t port() const { return port_; }
  pid_t pid() const { return pid_; }

  // The process that computes; waits for it.
  pid_t gang_pid() const {
    for (int i = 0; i < 600; ++i) {
      const Json cluster = get_json(port_, "/v1/cluster");
      if (cluster.is_object() && !cluster.at("gangs").empty()) {
        return cluster.at("gangs").at(0).at("pid").get<pid_t>();
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    fail(ErrorCode::kUnavailable, "no gang came within a minute");
  }

 private:
  void start(const ServiceBenchOptions& options, const fs::path& data, int output) {
    std::vector<std::string> arguments = {
        options.program, "serve", "--data",    data.string(),
        "--port",        "0",     "--threads", std::to_string(options.threads),
        "--queue-limit", "100000"};
    std::vector<char*> argv;
    for (auto& text : arguments) argv.push_back(text.data());
    argv.push_back(nullptr);
    const media::FileDescriptor log(
        ::open((data / "serve.log").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    pid_ = ::fork();
    ensure(pid_ >= 0, "no process can be started");
    if (pid_ > 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::dup2(output, STDOUT_FILENO);
    ::dup2(log.get(), STDERR_FILENO);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }

  pid_t pid_ = -1;
  std::uint16_t port_ = 0;
};

Json request_for(const ServiceBenchOptions& options, int frames, int priority) {
  return {{"model", options.model},
          {"prompt", "a red circle over green hills"},
          {"frames", frames},
          {"priority", priority}};
}

// Until its first frames are there.
void wait_until_running(std::uint16_t port, const std::string& id) {
  for (int i = 0; i < 1200; ++i) {
    const Json video = get_json(port, "/v1/videos/" + id);
    if (video.is_object() && video.at("frames_done").get<int>() > 0) return;
    require(!video.is_object() || video.at("status") != "failed", "the video failed: {}",
            video.dump());
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  fail(ErrorCode::kUnavailable, "the video had no frames after two minutes");
}

void print_row(std::ostream& out, const std::string& name, const std::string& value,
               const std::string& target) {
  out << fmt::format("{:<44} {:>22} {:>22}\n", name, value, target);
}

std::string ms(double value) { return fmt::format("{:.1f} ms", value); }

void print_table(std::ostream& out, const Json& r) {
  print_row(out, "", "measured", "asked");
  const Json &status = r.at("status"), &submit = r.at("submit"), &live = r.at("livez_beside_slow");
  print_row(out, fmt::format("status, {} requests, p50", status.at("count").get<int>()),
            ms(status.at("p50_ms")), "");
  print_row(out, "status, p99", ms(status.at("p99_ms")), "20 ms");
  print_row(out, fmt::format("submit (durable), {}, p50", submit.at("count").get<int>()),
            ms(submit.at("p50_ms")), "");
  print_row(out, "submit (durable), p99", ms(submit.at("p99_ms")), "100 ms");
  print_row(out, "coordinator's CPU, of one core",
            fmt::format("{:.1f} %", 100 * r.at("coordinator_cpu_share").get<double>()), "");
  print_row(out, "  what is allowed: 3 % of the gang's + 5 %", "",
            fmt::format("{:.1f} %", 100 * r.at("coordinator_cpu_allowed").get<double>()));
  print_row(out, "gang's CPU, of one core",
            fmt::format("{:.1f} %", 100 * r.at("gang_cpu_share").get<double>()), "");
  print_row(out, "coordinator's memory, before and after",
            fmt::format("{:.1f}, {:.1f} MB", r.at("rss_before_mb").get<double>(),
                        r.at("rss_after_mb").get<double>()),
            "bounded");
  print_row(out, fmt::format("/livez beside {} slow, p50", r.at("slow_open").get<int>()),
            ms(live.at("p50_ms")), "");
  print_row(out, fmt::format("/livez beside {} slow, p99", r.at("slow_open").get<int>()),
            ms(live.at("p99_ms")), "undisturbed");
  print_row(out, "/livez alone, p99", ms(r.at("livez_alone").at("p99_ms")), "");
  print_row(out, "events delivered", std::to_string(r.at("events").get<std::int64_t>()), "");
  print_row(out, "wrong answers", std::to_string(r.at("wrong").get<std::int64_t>()), "0");
}

Json measure(const ServiceBenchOptions& options, const fs::path& data) {
  const auto ids = fill_store(options, data);
  Served served(options, data);
  const auto port = served.port();
  const pid_t gang = served.gang_pid();
  const Json video = post_json(port, "/v1/videos", request_for(options, kFrames, 100));
  require(video.is_object(), "the video was not accepted");
  const std::string id = video.at("id");
  wait_until_running(port, id);

  LoadOptions load;
  load.port = port;
  load.ids = ids;
  load.watched = id;
  load.submission = request_for(options, 16, -100);
  load.pollers = options.pollers;
  load.streams = options.streams;
  load.length = std::chrono::seconds(options.seconds);
  const auto own_before = use_of(served.pid(), false), gang_before = use_of(gang, true);
  const auto begin = Clock::now();
  const double machine_load = load_average();
  auto loaded = run_load(load);
  const double elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
  const auto own_after = use_of(served.pid(), false), gang_after = use_of(gang, true);

  SlowOptions slow;
  slow.port = port;
  slow.connections = 0;
  slow.length = std::chrono::seconds(3);
  const auto alone = run_slow(slow);
  slow.connections = options.slow;
  slow.length = std::chrono::seconds(12);  // longer than a header may take
  const auto beside = run_slow(slow);

  // What was acknowledged is there.
  for (const auto& one : loaded.acknowledged) {
    if (get_json(port, "/v1/videos/" + one).is_null()) ++loaded.wrong;
  }
  const double own_share = (own_after.cpu_s - own_before.cpu_s) / elapsed;
  const double gang_share = (gang_after.cpu_s - gang_before.cpu_s) / elapsed;
  return {{"version", kVersion},
          {"stored_jobs", options.stored},
          {"pollers", options.pollers},
          {"event_streams", options.streams},
          {"seconds", elapsed},
          {"load_average_before", machine_load},
          {"cores", std::thread::hardware_concurrency()},
          {"status", loaded.status.json()},
          {"submit", loaded.submit.json()},
          {"events", loaded.events},
          {"coordinator_cpu_share", own_share},
          {"gang_cpu_share", gang_share},
          {"coordinator_cpu_allowed", 0.03 * gang_share + 0.05},
          {"rss_before_mb", own_before.rss_mb},
          {"rss_after_mb", use_of(served.pid(), false).rss_mb},
          {"livez_alone", alone.live.json()},
          {"livez_beside_slow", beside.live.json()},
          {"slow_open", beside.most_open},
          {"slow_closed_by_server", beside.closed_by_server},
          {"first_wrong", loaded.first_wrong},
          {"wrong", loaded.wrong + alone.wrong + beside.wrong}};
}

}  // namespace

int run_bench_service(const ServiceBenchOptions& options, std::ostream& out) {
  allow_many_files();
  fs::path data = options.data;
  if (data.empty()) {
    std::string pattern = (fs::temp_directory_path() / "seamwright-bench-XXXXXX").string();
    require(::mkdtemp(pattern.data()) != nullptr, "no temporary folder can be made");
    data = pattern;
  }
  const std::shared_ptr<void> remove(nullptr, [&](void*) {
    std::error_code ignored;
    if (options.data.empty()) fs::remove_all(data, ignored);
  });
  const Json result = measure(options, data);
  print_table(out, result);
  if (result.at("wrong") != 0) out << "first wrong answer: " << result.at("first_wrong") << "\n";
  if (!options.json.empty()) media::write_file_atomically(options.json, result.dump(2) + "\n");
  return result.at("wrong") == 0 ? 0 : 1;
}

}  // namespace seamwright::bench
