#include "worker/failpoint.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <csignal>
#include <sstream>
#include <string_view>
#include <thread>

#include "base/error.h"
#include "media/file_descriptor.h"

namespace seamwright::worker {
namespace {

std::int64_t number_in(const std::string& text, const std::string& fault) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  require(error == std::errc() && end == text.data() + text.size(),
          "'{}' in the failpoint '{}' is not a number", text, fault);
  return value;
}

}  // namespace

Failpoints::Failpoints(const std::string& text, int rank, std::int64_t attempt)
    : attempt_(attempt) {
  std::stringstream faults(text);
  for (std::string one; std::getline(faults, one, ';');) {
    if (one.starts_with("trace=")) {
      trace_ = one.substr(std::string_view("trace=").size());
      continue;
    }
    Fault fault;
    std::int64_t at_rank = 0, at_attempt = 1;
    std::stringstream parts(one);
    for (std::string part; std::getline(parts, part, ':');) {
      const auto equals = part.find('=');
      if (equals == std::string::npos) {
        fault.action = part;
        continue;
      }
      const auto name = part.substr(0, equals);
      const auto value = number_in(part.substr(equals + 1), one);
      if (name == "rank") {
        at_rank = value;
      } else if (name == "attempt") {
        at_attempt = value;
      } else {
        fault.moment = name;
        fault.count = value;
      }
    }
    if (fault.action == "slow") {
      require(fault.moment == "percent" && fault.count >= 100,
              "'{}' needs a percent=P of 100 or more", one);
      if (at_rank == rank) slowdown_ = static_cast<double>(fault.count) / 100;
      continue;
    }
    require(fault.action == "kill" || fault.action == "stop" || fault.action == "hang" ||
                fault.action == "error",
            "the failpoint '{}' does not begin with kill, stop, hang, error or slow", one);
    if (at_rank == rank && at_attempt == attempt) faults_.push_back(fault);
  }
}

double Failpoints::slowdown(const std::string& text, int rank) {
  return Failpoints(text, rank, 1).slowdown_;
}

void Failpoints::on_timed(const scheduling::PlannedTask& planned,
                          std::chrono::duration<double> took) const {
  if (slowdown_ <= 1 || planned.task.kind != scheduling::TaskKind::kForward) return;
  std::this_thread::sleep_for(took * (slowdown_ - 1));
}

void Failpoints::on_step(const char* where) {
  const std::string_view step = where;
  if (step == "record") pass("record", ++record_);
  if (step == "records") pass("records", ++records_);
  if (step == "segment") pass("segment", ++segment_);
}

void Failpoints::pass(const std::string& moment, std::int64_t count) const {
  for (const auto& fault : faults_) {
    if (fault.moment != moment || fault.count != count) continue;
    if (fault.action == "kill") std::raise(SIGKILL);
    if (fault.action == "stop") std::raise(SIGSTOP);
    while (fault.action == "hang") std::this_thread::sleep_for(std::chrono::seconds(1));
    if (fault.action == "error") {
      fail(ErrorCode::kUnavailable, "a failpoint asked for this failure at {} {}", moment, count);
    }
  }
}

void Failpoints::on_done(const scheduling::PlannedTask& planned) const {
  if (trace_.empty() || planned.task.kind != scheduling::TaskKind::kForward) return;
  const auto& t = planned.task;
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                      std::chrono::steady_clock::now().time_since_epoch())
                      .count();
  const auto line = fmt::format("{} {} {} {} {} {} {}\n", attempt_, ms, t.window, t.step, t.round,
                                t.branch, t.visit);
  // One write of a short line to a file opened for appending is not torn, and outlives the process.
  const media::FileDescriptor file(
      ::open(trace_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666));
  ensure(file && ::write(file.get(), line.data(), line.size()) == static_cast<ssize_t>(line.size()),
         "cannot write the trace {}", trace_);
}

}  // namespace seamwright::worker
