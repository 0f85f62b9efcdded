// Starts the local gangs as child processes, starts them again when they end, and sees to it that
// nothing of them is left.
// Threads: all calls from any thread; `ended` runs on the supervisor's own.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace seamwright::coordinator {

struct LocalGang {
  std::string name;
  std::vector<std::string> argv;  // argv[0] is a path
};

struct SupervisorOptions {
  std::string mark;  // of this service, drawn once per store: kGangMark of its gangs begins with it
  std::vector<LocalGang> gangs;
  // A gang that ended is started again after this, doubled for every end that follows soon after a
  // start, up to the limit.
  std::chrono::milliseconds first_delay{100}, longest_delay{30000};
  std::chrono::milliseconds healthy_after{20000};
  // All processes of the gang have ended, and why; `by_us`: because of stop().
  std::function<void(const std::string& gang, const std::string& how, bool by_us)> ended;
};

class Supervisor {
 public:
  // First ends what an earlier service of the same mark left behind, then starts the gangs. The
  // gangs' processes get SIGKILL when this process dies.
  explicit Supervisor(SupervisorOptions options);
  ~Supervisor();  // as stop()
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Ends all processes of a gang; it is started again. False if there is no such gang.
  bool kill(const std::string& gang);
  // Ends all gangs for good, and waits until no process is left.
  void stop();
  // [{"gang","pid","starts","state"}]
  nlohmann::json state() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace seamwright::coordinator
