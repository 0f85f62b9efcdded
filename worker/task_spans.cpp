#include "worker/task_spans.h"

#include "base/error.h"

namespace seamwright::worker {
namespace {

using Steady = std::chrono::steady_clock;
using std::chrono::microseconds;

constexpr std::size_t kNumbers = 5;  // kind, window, step, begin, end
constexpr std::size_t kAtOnce = 500;

// From this host's steady clock to the time of day.
Steady::duration offset() {
  return std::chrono::duration_cast<Steady::duration>(
      std::chrono::system_clock::now().time_since_epoch() - Steady::now().time_since_epoch());
}

std::int64_t to_time_of_day(Steady::time_point at) {
  return std::chrono::duration_cast<microseconds>(at.time_since_epoch() + offset()).count();
}

Steady::time_point from_time_of_day(std::int64_t at) {
  return Steady::time_point(microseconds(at) - offset());
}

}  // namespace

void TaskSpans::add(const scheduling::Task& task, Steady::time_point begin,
                    Steady::time_point end) {
  for (const std::int64_t number :
       {static_cast<std::int64_t>(task.kind), static_cast<std::int64_t>(task.window),
        static_cast<std::int64_t>(task.step), to_time_of_day(begin), to_time_of_day(end)}) {
    numbers_.push_back(number);
  }
  if (end - sent_ < std::chrono::seconds(1) && numbers_.size() < kAtOnce * kNumbers) return;
  sent_ = end;
  send();
}

void TaskSpans::send() {
  if (numbers_.empty()) return;
  fabric_.post(0, encode({MailKind::kSpans, {}, std::exchange(numbers_, {}), {}, run_}));
}

void read_spans(int from, const GangMail& mail, const TaskTime& hook) {
  ensure(mail.numbers.size() % kNumbers == 0, "rank {} sent {} numbers of spans", from,
         mail.numbers.size());
  if (!hook) return;
  for (std::size_t i = 0; i < mail.numbers.size(); i += kNumbers) {
    const auto* n = &mail.numbers[i];
    scheduling::Task task;
    task.kind = static_cast<scheduling::TaskKind>(n[0]);
    task.window = static_cast<int>(n[1]);
    task.step = static_cast<int>(n[2]);
    hook(from, task, from_time_of_day(n[3]), from_time_of_day(n[4]));
  }
}

}  // namespace seamwright::worker
