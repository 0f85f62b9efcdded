#include "cli/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace seamwright::cli {
namespace {

constexpr int kBarCells = 24;
constexpr double kLongRunSeconds = 5;

double fraction_of(const worker::Progress& p) {
  return p.evaluations_total > 0
             ? static_cast<double>(p.evaluations) / static_cast<double>(p.evaluations_total)
             : 0;
}

std::string status(const worker::Progress& p) {
  const double done = fraction_of(p);
  const double left = done > 0 ? p.seconds * (1 - done) / done : 0;
  const double rate = p.seconds > 0 ? static_cast<double>(p.evaluations) / p.seconds : 0;
  return fmt::format("{:3.0f} %  {}/{} frames  {:.2f} evaluations/s  {} left", 100 * done, p.frames,
                     p.frames_total, rate, duration_text(left));
}

}  // namespace

std::string duration_text(double seconds) {
  const auto s = static_cast<long long>(std::llround(std::max(0.0, seconds)));
  if (s >= 3600) return fmt::format("{} h {:02} min", s / 3600, s / 60 % 60);
  if (s >= 60) return fmt::format("{} min {:02} s", s / 60, s % 60);
  return fmt::format("{} s", s);
}

ProgressPrinter::ProgressPrinter(bool enabled)
    : enabled_(enabled), terminal_(isatty(STDERR_FILENO) == 1) {}

void ProgressPrinter::note(const std::string& line) {
  if (!enabled_) return;
  clear();
  fmt::print(stderr, "{}\n", line);
}

bool ProgressPrinter::due(const worker::Progress& progress) {
  const auto now = std::chrono::steady_clock::now();
  const auto every = terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(10'000);
  const bool last = progress.frames == progress.frames_total;
  if (!last && now - last_ < every) return false;
  last_ = now;
  return true;
}

void ProgressPrinter::update(const worker::Progress& progress) {
  if (!enabled_) return;
  if (!estimate_said_ && progress.evaluations > 0) {
    estimate_said_ = true;
    const double total = progress.seconds / fraction_of(progress);
    if (total > kLongRunSeconds) note(fmt::format("this takes about {}", duration_text(total)));
  }
  if (!due(progress)) return;
  if (!terminal_) {
    fmt::print(stderr, "{}\n", status(progress));
    return;
  }
  const auto filled = std::min(static_cast<int>(fraction_of(progress) * kBarCells), kBarCells);
  fmt::print(stderr, "\r\x1b[K[{:#<{}}{:.<{}}] {}", "", filled, "", kBarCells - filled,
             status(progress));
  std::fflush(stderr);
  line_open_ = true;
}

void ProgressPrinter::clear() {
  if (line_open_) fmt::print(stderr, "\n");
  line_open_ = false;
}

}  // namespace seamwright::cli
