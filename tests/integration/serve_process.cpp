#include "tests/integration/serve_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <thread>

#include "coordinator/store/job_store.h"
#include "coordinator/supervisor/marked_processes.h"
#include "media/child_process.h"
#include "tests/unit/media/temporary_folder.h"

extern char** environ;

namespace seamwright {
namespace {

using coordinator::http::RawResponse;
using std::chrono::steady_clock;

constexpr const char* kModels = SEAMWRIGHT_FIXTURES "/checkpoints";
constexpr std::chrono::seconds kStartLimit{300};

// The port in the line "http://127.0.0.1:PORT" that serve prints; 0 when it ends without one.
std::uint16_t read_port(int descriptor) {
  std::string line;
  const auto end = steady_clock::now() + kStartLimit;
  while (line.find('\n') == std::string::npos && steady_clock::now() < end) {
    pollfd ready{descriptor, POLLIN, 0};
    if (::poll(&ready, 1, 200) <= 0) continue;
    char buffer[256];
    const auto got = ::read(descriptor, buffer, sizeof(buffer));
    if (got <= 0) return 0;
    line.append(buffer, static_cast<std::size_t>(got));
  }
  const auto colon = line.rfind(':');
  if (colon == std::string::npos) return 0;
  return static_cast<std::uint16_t>(std::strtoul(line.c_str() + colon + 1, nullptr, 10));
}

}  // namespace

ServeProcess::ServeProcess(std::filesystem::path data, std::vector<std::string> more,
                           const std::string& failpoints)
    : data_(std::move(data)) {
  std::vector<std::string> arguments = {SEAMWRIGHT_PROGRAM, "serve", "--data",    data_.string(),
                                        "--port",           "0",     "--threads", "1",
                                        "--lease-ms",       "7000"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  std::vector<std::string> environment = {std::string("SEAMWRIGHT_MODELS=") + kModels,
                                          "SEAMWRIGHT_FAILPOINTS=" + failpoints};
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!std::string_view(*entry).starts_with("SEAMWRIGHT_")) environment.emplace_back(*entry);
  }
  std::vector<char*> argv, envp;
  for (auto& text : arguments) argv.push_back(text.data());
  for (auto& text : environment) envp.push_back(text.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  std::filesystem::create_directories(data_);
  const auto log = data_.string() + ".log";
  int output[2];
  if (::pipe2(output, O_CLOEXEC) != 0) return;
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(output[1], STDOUT_FILENO);
    const int file = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    ::dup2(file, STDERR_FILENO);
    ::execve(argv[0], argv.data(), envp.data());
    ::_exit(127);
  }
  ::close(output[1]);
  port_ = read_port(output[0]);
  ::close(output[0]);
}

ServeProcess::~ServeProcess() {
  kill_now();
  try {
    coordinator::kill_marked(coordinator::JobStore(data_ / "jobs.db").service_id(),
                             std::chrono::seconds(5));
  } catch (const std::exception&) {
    // There is no store to ask.
  }
  if (::testing::Test::HasFailure()) {
    std::ifstream log(data_.string() + ".log");
    for (std::string line; std::getline(log, line);)
      std::fprintf(stderr, "serve: %s\n", line.c_str());
  }
}

void ServeProcess::kill_now() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

int ServeProcess::stop() {
  ::kill(pid_, SIGTERM);
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

bool ServeProcess::running() {
  if (pid_ <= 0) return false;
  if (::waitpid(pid_, nullptr, WNOHANG) == pid_) pid_ = -1;
  return pid_ > 0;
}

std::vector<pid_t> ServeProcess::gang_processes() const {
  std::string mark;
  {
    coordinator::JobStore store(data_ / "jobs.db");
    mark = store.service_id();
  }
  return coordinator::processes_marked(mark);
}

RawResponse ServeProcess::ask(const std::string& method, const std::string& target,
                              const std::string& body) {
  try {
    return coordinator::http::ask(port_, method, target, body,
                                  body.empty() ? "" : "Content-Type: application/json\r\n");
  } catch (const std::exception&) {
    return {};
  }
}

std::string ServeProcess::submit(const Json& body, const std::string& headers) {
  try {
    const auto answer = coordinator::http::ask_json(port_, "POST", "/v1/videos", body, headers);
    if (answer.status < 200 || answer.status > 299) return {};
    return answer.json().at("id").get<std::string>();
  } catch (const std::exception&) {
    return {};
  }
}

ServeProcess::Json ServeProcess::get(const std::string& id) {
  const auto answer = ask("GET", "/v1/videos/" + id);
  return answer.status == 200 ? answer.json() : Json(nullptr);
}

ServeProcess::Json ServeProcess::wait_for(const std::string& id,
                                          const std::function<bool(const Json&)>& until,
                                          std::chrono::seconds limit) {
  const auto end = steady_clock::now() + limit;
  Json video;
  while (steady_clock::now() < end) {
    video = get(id);
    if (!video.is_null() && until(video)) return video;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  ADD_FAILURE() << "waited in vain; the job is " << video.dump(2);
  return video;
}

ServeProcess::Json ServeProcess::wait_final(const std::string& id, std::chrono::seconds limit) {
  return wait_for(id, is_final, limit);
}

bool is_final(const nlohmann::json& video) {
  return video.at("status") == "completed" || video.at("status") == "failed";
}

nlohmann::json tiny_request(int frames, std::uint64_t seed) {
  return {{"model", "unetmotion3"},
          {"prompt", "a red circle"},
          {"frames", frames},
          {"size", "64x48"},
          {"window", 8},
          {"overlap", 4},
          {"steps", 2},
          {"seed", seed}};
}

std::string undisturbed_hash(const nlohmann::json& request) {
  static std::map<std::string, std::string> known;
  auto& hash = known[request.dump()];
  if (!hash.empty()) return hash;
  media::TemporaryFolder folder;
  media::ChildSpec spec;
  spec.argv = {
      SEAMWRIGHT_PROGRAM, "generate",
      "--model",          std::string(kModels) + "/" + request.at("model").get<std::string>(),
      "--prompt",         request.at("prompt"),
      "--no-video",       "--quiet",
      "--threads",        "1",
      "--report",         (folder / "r.json").string()};
  for (const char* name : {"frames", "window", "overlap", "steps", "seed"}) {
    spec.argv.push_back(std::string("--") + name);
    spec.argv.push_back(request.at(name).dump());
  }
  spec.argv.insert(spec.argv.end(), {"--size", request.at("size").get<std::string>()});
  const auto made = media::run_child(spec, std::chrono::minutes(10));
  EXPECT_EQ(made.exit.code, 0) << made.errors;
  hash = nlohmann::json::parse(std::ifstream(folder / "r.json")).at("latents_sha256");
  return hash;
}

}  // namespace seamwright
