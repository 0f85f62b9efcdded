#include "scheduling/hole_windows.h"

#include <algorithm>

namespace seamwright::scheduling {
namespace {

// Windows that belong together, at the usual distance, and the missing frames they are for.
struct Row {
  FrameRange hole;  // from the first missing frame to the last, known ones in between
  int first = 0;    // first frame of the first window
  int count = 1;    // of windows
};

class RowRules {
 public:
  explicit RowRules(const WindowRequest& r)
      : frames_(r.frames), window_(r.window), overlap_(r.overlap), advance_(r.window - r.overlap) {}

  Row row(FrameRange hole) const {
    const FrameRange asked{std::max(0, hole.begin - overlap_),
                           std::min(frames_, hole.end + overlap_)};
    const int beyond_one = std::max(0, asked.count() - window_);
    const int count = 1 + (beyond_one + advance_ - 1) / advance_;
    const int length = (count - 1) * advance_ + window_;
    const int first = asked.begin - (length - asked.count()) / 2;
    return {hole, std::clamp(first, 0, std::max(0, frames_ - length)), count};
  }

  int start(const Row& row, int i) const {
    return std::min(row.first + i * advance_, frames_ - window_);
  }

  bool too_close(const Row& before, const Row& after) const {
    return after.first - start(before, before.count - 1) < advance_;
  }

 private:
  int frames_, window_, overlap_, advance_;
};

std::vector<FrameRange> holes(const WindowRequest& r) {
  std::vector<FrameRange> runs;
  for (int frame = 0; frame < r.frames; ++frame) {
    if (r.is_given(frame)) continue;
    if (runs.empty() || runs.back().end != frame) runs.push_back({frame, frame});
    ++runs.back().end;
  }
  return runs;
}

}  // namespace

std::vector<FrameRange> windows_around_holes(const WindowRequest& r) {
  const RowRules rules(r);
  std::vector<Row> rows;
  for (const auto& hole : holes(r)) {
    auto row = rules.row(hole);
    while (!rows.empty() && rules.too_close(rows.back(), row)) {
      row = rules.row({rows.back().hole.begin, hole.end});
      rows.pop_back();
    }
    rows.push_back(row);
  }
  std::vector<FrameRange> windows;
  const auto fill_up_to = [&](int frame) {
    int from = windows.empty() ? 0 : windows.back().end;
    for (; from < frame; from = windows.back().end) {
      windows.push_back({from, std::min(from + r.window, frame)});
    }
  };
  for (const auto& row : rows) {
    for (int i = 0; i < row.count; ++i) {
      const int start = rules.start(row, i);
      fill_up_to(start);
      windows.push_back({start, start + r.window});
    }
  }
  fill_up_to(r.frames);
  return windows;
}

}  // namespace seamwright::scheduling
