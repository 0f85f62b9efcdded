// Local gangs as child processes: started, started again, and ended with all they started.
#include "coordinator/supervisor/supervisor.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>

#include "coordinator/supervisor/marked_processes.h"

namespace seamwright::coordinator {
namespace {

using std::chrono::milliseconds;

std::string unique_mark() {
  static std::atomic<int> next{0};
  return fmt::format("test{}x{}", ::getpid(), next++);
}

bool wait_until(const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (std::chrono::steady_clock::now() < end) {
    if (holds()) return true;
    std::this_thread::sleep_for(milliseconds(10));
  }
  return false;
}

SupervisorOptions options(const std::string& mark, const std::string& script) {
  SupervisorOptions o;
  o.mark = mark;
  o.gangs = {{"g", {"/bin/sh", "-c", script}}};
  o.first_delay = milliseconds(20);
  return o;
}

TEST(Supervisor, EndsWhatAGangLeftBehindAndStartsItAgain) {
  const auto mark = unique_mark();
  std::atomic<int> ended{0};
  // A launcher with a rank that leaves its process group, as mpirun's do.
  auto o = options(mark, "setsid sleep 1000 & sleep 1000");
  o.ended = [&](const std::string& gang, const std::string& how, bool) {
    EXPECT_EQ(gang, "g");
    EXPECT_NE(how.find("signal 9"), std::string::npos) << how;
    ++ended;
  };
  {
    Supervisor supervisor(std::move(o));
    ASSERT_TRUE(wait_until([&] { return processes_marked(mark).size() >= 3; }));
    const auto before = processes_marked(mark);
    const pid_t launcher = supervisor.state().at(0).at("pid").get<pid_t>();
    ::kill(launcher, SIGKILL);
    ASSERT_TRUE(wait_until([&] { return ended == 1; }));
    for (const pid_t pid : before) {
      const auto now = processes_marked(mark);
      EXPECT_EQ(std::count(now.begin(), now.end(), pid), 0) << "left behind";
    }
    ASSERT_TRUE(wait_until([&] { return supervisor.state().at(0).at("starts") == 2; }));
    EXPECT_TRUE(supervisor.kill("g"));
    EXPECT_FALSE(supervisor.kill("nonesuch"));
    ASSERT_TRUE(wait_until([&] { return ended == 2; }));
  }
  EXPECT_TRUE(processes_marked(mark).empty());
}

// A launcher that was forked but does not carry the mark yet is killed too.
TEST(Supervisor, EndsALauncherInTheMomentItStarts) {
  std::atomic<int> ended{0};
  auto o = options(unique_mark(), "sleep 1000");
  o.ended = [&](const std::string&, const std::string&, bool) { ++ended; };
  o.first_delay = o.longest_delay = milliseconds(1);
  Supervisor supervisor(std::move(o));
  for (int round = 1; round <= 20; ++round) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (supervisor.state().at(0).at("starts") != round &&
           std::chrono::steady_clock::now() < end) {
    }
    supervisor.kill("g");
    ASSERT_TRUE(wait_until([&] { return ended == round; })) << round;
  }
}

TEST(Supervisor, WaitsLongerAfterEveryQuickEnd) {
  auto o = options(unique_mark(), "exit 3");
  o.longest_delay = milliseconds(400);
  Supervisor supervisor(std::move(o));
  std::this_thread::sleep_for(milliseconds(1500));
  const int starts = supervisor.state().at(0).at("starts").get<int>();
  EXPECT_GE(starts, 2);
  EXPECT_LE(starts, 9) << "20, 40, 80, 160, 320, 400 ms ...";
}

TEST(Supervisor, DoesNotStartAgainWhatEndedByAgreement) {
  Supervisor supervisor(options(unique_mark(), "exit 0"));
  ASSERT_TRUE(wait_until([&] { return supervisor.state().at(0).at("state") == "ended"; }));
  std::this_thread::sleep_for(milliseconds(200));
  EXPECT_EQ(supervisor.state().at(0).at("starts"), 1);
}

TEST(Supervisor, EndsWhatAnEarlierServiceLeft) {
  const auto mark = unique_mark();
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string variable = std::string(kGangMark) + "=" + mark + "/g";
    char* argv[] = {const_cast<char*>("sleep"), const_cast<char*>("1000"), nullptr};
    char* envp[] = {const_cast<char*>(variable.c_str()), nullptr};
    ::execve("/bin/sleep", argv, envp);
    ::_exit(127);
  }
  ASSERT_TRUE(wait_until([&] { return processes_marked(mark).size() == 1; }));
  EXPECT_TRUE(processes_marked(mark + "other").empty());
  Supervisor supervisor(SupervisorOptions{.mark = mark, .gangs = {}, .ended = {}});
  EXPECT_TRUE(processes_marked(mark).empty());
}

}  // namespace
}  // namespace seamwright::coordinator
