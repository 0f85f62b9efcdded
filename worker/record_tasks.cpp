// What tasks put into durable records and read back: a frame's latent with the sampler's history,
// or, causal, a window's, with the clean estimates that its successor follows. A given frame's
// comes from what is given.
#include <cstring>

#include "base/error.h"
#include "worker/task_runner.h"

namespace seamwright::worker {

using scheduling::DataId;
using scheduling::DataKind;

namespace {

comm::Bytes bytes_of(std::span<const float> a, std::span<const float> b = {}) {
  const auto first = std::as_bytes(a), second = std::as_bytes(b);
  comm::Bytes bytes(first.begin(), first.end());
  bytes.insert(bytes.end(), second.begin(), second.end());
  return bytes;
}

std::vector<float> floats_of(const comm::Bytes& bytes, std::size_t expected, RecordKey key) {
  if (bytes.size() != expected * sizeof(float)) {
    fail(ErrorCode::kCorrupt, "the record ({}, level {}) holds {} bytes, but this job's have {}",
         key.at, key.level, bytes.size(), expected * sizeof(float));
  }
  std::vector<float> values(expected);
  if (expected > 0) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::shared_ptr<Datum> datum_of(std::span<const float> values) {
  auto datum = std::make_shared<Datum>();
  datum->values.assign(values.begin(), values.end());
  return datum;
}

}  // namespace

void TaskRunner::save(const Task& t, const Outputs& made) const {
  if (t.kind == scheduling::TaskKind::kAdvance) {
    for (const auto& [id, datum] : made) {
      hooks_.save_record({id.at, id.step}, bytes_of(datum->values));
    }
    return;
  }
  const Datum* state = nullptr;
  const Datum* clean = nullptr;
  for (const auto& [id, datum] : made) {
    if (id.kind == DataKind::kWindowState) state = datum.get();
    if (id.kind == DataKind::kClean) clean = datum.get();
  }
  ensure(state != nullptr && clean != nullptr, "{} leaves nothing to record",
         scheduling::to_string(t));
  const auto shared = static_cast<std::size_t>(shared_with_successor(t.window)) * frame_size();
  hooks_.save_record({t.window, t.step + 1},
                     bytes_of(state->values, std::span(clean->values).last(shared)));
}

TaskRunner::Outputs TaskRunner::load(const scheduling::PlannedTask& planned) const {
  const Task& t = planned.task;
  const auto check = [&] {
    ensure(hooks_.load_record != nullptr, "{} loads a record, but none are kept",
           scheduling::to_string(t));
  };
  Outputs out;
  if (t.window < 0 || job_.schedule.idle(0, t.window)) {
    for (const auto& ref : planned.outputs) {
      if (known(ref.id.at)) {
        std::vector<float> state(state_size(), 0.0F);
        hold_known(ref.id.step, ref.id.at, std::span(state).first(frame_size()));
        out.emplace_back(ref.id, datum_of(state));
        continue;
      }
      check();
      const RecordKey key{ref.id.at, ref.id.step};
      out.emplace_back(ref.id, datum_of(floats_of(hooks_.load_record(key), state_size(), key)));
    }
    return out;
  }
  check();
  const RecordKey key{t.window, t.step};
  const auto frames = job_.schedule.window(0, t.window).frames;
  const auto shared = static_cast<std::size_t>(shared_with_successor(t.window));
  const auto all =
      floats_of(hooks_.load_record(key), frames.size() * state_size() + shared * frame_size(), key);
  const auto states = std::span(all).first(frames.size() * state_size());
  for (const auto& ref : planned.outputs) {
    if (ref.id.kind == DataKind::kWindowState) {
      out.emplace_back(ref.id, datum_of(states));
    } else if (ref.id.kind == DataKind::kState) {
      const auto at = static_cast<std::size_t>(ref.id.at - frames.front()) * state_size();
      out.emplace_back(ref.id, datum_of(states.subspan(at, state_size())));
    } else {
      auto datum = datum_of(std::span(all).subspan(states.size()));
      for (std::size_t i = frames.size() - shared; i < frames.size(); ++i) {
        datum->positions.push_back(static_cast<int>(i));
      }
      out.emplace_back(ref.id, std::move(datum));
    }
  }
  return out;
}

int TaskRunner::shared_with_successor(int window) const {
  return window + 1 < job_.schedule.window_count(0) ? job_.schedule.shared(window + 1).count() : 0;
}

}  // namespace seamwright::worker
