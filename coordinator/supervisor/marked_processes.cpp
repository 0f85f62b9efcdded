#include "coordinator/supervisor/marked_processes.h"

#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

namespace seamwright::coordinator {
namespace {

namespace fs = std::filesystem;

// A zombie has no environment any more, so it does not count.
bool has_mark(const fs::path& environment, const std::string& wanted) {
  std::ifstream file(environment, std::ios::binary);
  const std::string all((std::istreambuf_iterator<char>(file)), {});
  std::size_t at = 0;
  while (at < all.size()) {
    const auto end = std::min(all.find('\0', at), all.size());
    if (all.compare(at, wanted.size(), wanted) == 0) {
      const auto next = at + wanted.size();
      return next == end || all[next] == '/';
    }
    at = end + 1;
  }
  return false;
}

}  // namespace

std::vector<pid_t> processes_marked(const std::string& mark) {
  const std::string wanted = std::string(kGangMark) + "=" + mark;
  std::vector<pid_t> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const auto name = entry.path().filename().string();
    pid_t pid = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (parsed.ec != std::errc() || parsed.ptr != name.data() + name.size()) continue;
    if (pid != ::getpid() && has_mark(entry.path() / "environ", wanted)) found.push_back(pid);
  }
  return found;
}

int kill_marked(const std::string& mark, std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (true) {
    const auto left = processes_marked(mark);
    if (left.empty()) return 0;
    for (const pid_t pid : left) ::kill(pid, SIGKILL);
    if (std::chrono::steady_clock::now() > end) return static_cast<int>(left.size());
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace seamwright::coordinator
