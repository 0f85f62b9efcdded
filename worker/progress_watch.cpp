#include "worker/progress_watch.h"

#include <algorithm>

#include "base/error.h"

namespace seamwright::worker {
namespace {

constexpr std::size_t kTaskKinds = 8;

double milliseconds_of(std::chrono::steady_clock::duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

GangMail mail_of(const RankProgress& p, std::uint32_t run) {
  return {MailKind::kProgress,
          {},
          {p.tasks, p.forwards, p.kind, p.window, p.step, p.for_ms, p.allowed_ms},
          {},
          run};
}

RankProgress progress_in(const GangMail& mail) {
  const auto& n = mail.numbers;
  if (n.size() != 7) fail(ErrorCode::kCorrupt, "a rank's progress has {} numbers", n.size());
  return {n[0], n[1], n[2], n[3], n[4], n[5], n[6]};
}

std::string describe(const RankProgress& p) {
  const auto kind = scheduling::to_string(static_cast<scheduling::TaskKind>(p.kind));
  if (p.window < 0) return std::string(kind);
  return fmt::format("{} of window {} at step {}", kind, p.window, p.step);
}

}  // namespace

WatchLimits limits_for(const scheduling::CostTable& costs) {
  WatchLimits limits;
  const double longest = *std::max_element(costs.visit_s.begin(), costs.visit_s.end());
  const auto scaled = static_cast<std::int64_t>(std::min(1e12, limits.factor * longest * 1000));
  limits.grace = std::max(limits.grace, std::chrono::milliseconds(scaled));
  return limits;
}

ProgressWatch::ProgressWatch(const WatchLimits& limits, comm::Fabric* fabric, Events events,
                             std::uint32_t run)
    : limits_(limits),
      fabric_(fabric),
      events_(std::move(events)),
      run_(run),
      ranks_(fabric == nullptr ? 1U : static_cast<std::size_t>(fabric->size())),
      longest_ms_(kTaskKinds, 0.0),
      moved_(Clock::now()) {
  thread_ = std::thread([this] { this->run(); });
}

ProgressWatch::~ProgressWatch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  thread_.join();
}

void ProgressWatch::starts(const scheduling::PlannedTask& planned) {
  const std::lock_guard lock(mutex_);
  task_ = planned.task;
  began_ = Clock::now();
}

void ProgressWatch::gets_on() {
  const std::lock_guard lock(mutex_);
  began_ = Clock::now();
}

void ProgressWatch::done(const scheduling::PlannedTask& planned) {
  std::int64_t total = -1;
  {
    const std::lock_guard lock(mutex_);
    auto& longest = longest_ms_[static_cast<std::size_t>(planned.task.kind)];
    longest = std::max(longest, milliseconds_of(Clock::now() - began_));
    task_.reset();
    ++counts_.tasks;
    if (planned.task.kind != scheduling::TaskKind::kForward) return;
    ++counts_.forwards;
    total = total_forwards();
  }
  const bool at_zero = fabric_ == nullptr || fabric_->rank() == 0;
  if (at_zero && events_.forwards) events_.forwards(total);
}

void ProgressWatch::heard(int from, const GangMail& mail) {
  const auto progress = progress_in(mail);
  const std::lock_guard lock(mutex_);
  ranks_.at(static_cast<std::size_t>(from)) = progress;
}

void ProgressWatch::over() {
  const std::lock_guard lock(mutex_);
  over_ = true;
}

std::int64_t ProgressWatch::total_forwards() const {
  std::int64_t total = counts_.forwards;
  for (std::size_t r = 1; r < ranks_.size(); ++r) total += ranks_[r].forwards;
  return total;
}

RankProgress ProgressWatch::own(Clock::time_point now) const {
  RankProgress p = counts_;
  if (!task_) return p;
  p.kind = static_cast<std::int64_t>(task_->kind);
  p.window = task_->window;
  p.step = task_->step;
  p.for_ms = static_cast<std::int64_t>(milliseconds_of(now - began_));
  const double longest = longest_ms_[static_cast<std::size_t>(task_->kind)];
  p.allowed_ms = longest > 0 ? std::max(limits_.at_least.count(),
                                        static_cast<std::int64_t>(limits_.factor * longest))
                             : limits_.grace.count();
  return p;
}

// A rank works on one task for too long, or nobody works on anything.
std::optional<Error> ProgressWatch::judge(Clock::time_point now) {
  const auto lost = [](const std::string& text) {
    return Error(ErrorCode::kUnavailable, text, std::source_location::current(), true);
  };
  ranks_[0] = own(now);
  std::int64_t tasks = 0;
  bool working = false;
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    const auto& p = ranks_[r];
    tasks += p.tasks;
    if (p.kind < 0) continue;
    working = true;
    if (p.for_ms <= p.allowed_ms) continue;
    return lost(
        fmt::format("rank {} was lost (it has been at {} for {:.1f} s; at most {:.1f} s were "
                    "expected), as seen by rank 0",
                    r, describe(p), static_cast<double>(p.for_ms) / 1000,
                    static_cast<double>(p.allowed_ms) / 1000));
  }
  if (tasks != tasks_seen_ || working) moved_ = now;
  tasks_seen_ = tasks;
  if (now - moved_ <= limits_.grace) return std::nullopt;
  return lost(fmt::format("every rank has waited for the others for {:.0f} s",
                          milliseconds_of(now - moved_) / 1000));
}

void ProgressWatch::run() {
  std::unique_lock lock(mutex_);
  bool told = false;
  while (!stop_.wait_for(lock, limits_.interval, [this] { return stopping_; })) {
    const auto now = Clock::now();
    if (fabric_ != nullptr && fabric_->rank() != 0) {
      const auto bytes = encode(mail_of(own(now), run_));
      lock.unlock();
      try {
        fabric_->post(0, bytes);
      } catch (const Error&) {
        // The gang is over; whoever waits in it is told by the fabric.
      }
      lock.lock();
      continue;
    }
    if (over_ || told) continue;
    const auto error = judge(now);
    told = error.has_value();
    lock.unlock();
    if (error && events_.hung) events_.hung(*error);
    if (!error && events_.well) events_.well();
    lock.lock();
  }
}

}  // namespace seamwright::worker
