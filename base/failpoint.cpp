#include "base/failpoint.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <map>
#include <mutex>
#include <sstream>

#include "base/error.h"

namespace seamwright {
namespace {

struct Armed {
  std::mutex mutex;
  std::map<std::string, int, std::less<>> remaining;  // hits until the end
};

Armed& armed() {
  static Armed state;
  return state;
}
std::atomic<bool> any_armed{false};

int parse_count(const std::string& text, const std::string& whole) {
  int count = 0;
  const auto* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, count);
  require(result.ec == std::errc() && result.ptr == end && count >= 1,
          "failpoints '{}': the number after ':' must be 1 or more", whole);
  return count;
}

}  // namespace

void arm_failpoints(const std::string& text) {
  const std::lock_guard lock(armed().mutex);
  armed().remaining.clear();
  std::stringstream names(text);
  for (std::string name; std::getline(names, name, ',');) {
    const auto colon = name.find(':');
    const int count = colon == std::string::npos ? 1 : parse_count(name.substr(colon + 1), text);
    armed().remaining[name.substr(0, colon)] = count;
  }
  any_armed.store(!armed().remaining.empty());
}

void failpoint(std::string_view name) {
  if (!any_armed.load(std::memory_order_relaxed)) return;
  const std::lock_guard lock(armed().mutex);
  const auto found = armed().remaining.find(name);
  if (found == armed().remaining.end() || --found->second > 0) return;
  ::kill(::getpid(), SIGKILL);
}

}  // namespace seamwright
