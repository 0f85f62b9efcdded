// The same arithmetic as the virtual gang's, in one plain loop.
#include <algorithm>

#include "tests/unit/scheduling/hash_network.h"
#include "tests/unit/scheduling/virtual_gang.h"

namespace seamwright::scheduling {
namespace {

std::vector<std::uint64_t> predict(const std::vector<std::uint64_t>& input, int step,
                                   int branches) {
  std::vector<std::uint64_t> outputs;
  for (int branch = 0; branch < branches; ++branch) outputs.push_back(network(input, step, branch));
  std::vector<std::uint64_t> prediction;
  for (std::size_t j = 0; j < input.size(); ++j) {
    prediction.push_back(guided(outputs, static_cast<int>(j)));
  }
  return prediction;
}

std::map<int, std::uint64_t> plain_local(const PlanRequest& request) {
  std::map<int, std::uint64_t> state;
  for (int frame = 0; frame < request.windows.frames; ++frame) state[frame] = noise(frame);
  const auto hold_given = [&](int level) {
    for (auto& [frame, value] : state) {
      if (request.windows.is_given(frame)) value = given(frame, level);
    }
  };
  for (int step = 0; step < request.steps; ++step) {
    hold_given(step);
    auto next = state;
    for (const auto& window : windows_at_step(request.windows, step)) {
      std::vector<std::uint64_t> input;
      for (const int frame : window.frames) input.push_back(state.at(frame));
      const auto prediction = predict(input, step, request.branches);
      for (std::size_t j = 0; j < window.frames.size(); ++j) {
        next.at(window.frames[j]) = join({next.at(window.frames[j]), prediction[j]});
      }
    }
    for (auto& [frame, value] : next) value = join({value, number(step)});
    state = std::move(next);
  }
  hold_given(request.steps);
  return state;
}

std::map<int, std::uint64_t> plain_causal(const PlanRequest& request) {
  std::map<int, std::uint64_t> finals;
  std::map<int, std::map<int, std::uint64_t>> before;  // step -> frame -> clean estimate
  const auto is_given = [&](int frame) { return request.windows.is_given(frame); };
  for (const auto& window : windows_at_step(request.windows, 0)) {
    std::map<int, std::map<int, std::uint64_t>> cleans;
    std::vector<std::uint64_t> state;
    for (const int frame : window.frames) state.push_back(noise(frame));
    for (int step = 0; step < request.steps; ++step) {
      const auto& followed = before[std::min(step + request.lag, request.steps - 1)];
      for (int round = 0; round < request.rounds; ++round) {
        for (std::size_t j = 0; j < state.size(); ++j) {
          const auto shared = followed.find(window.frames[j]);
          if (shared == followed.end()) continue;
          state[j] = renoised(shared->second, shared->first, step, round);
        }
        for (std::size_t j = 0; j < state.size(); ++j) {
          const int frame = window.frames[j];
          if (is_given(frame)) state[j] = renoised(given(frame, 0), frame, step, round);
        }
        const auto prediction = predict(state, step, request.branches);
        const bool last = round == request.rounds - 1;
        for (std::size_t j = 0; j < state.size(); ++j) {
          const int frame = window.frames[j];
          const auto shared = followed.find(frame);
          auto clean =
              mixed(prediction[j], state[j], shared == followed.end() ? 0 : shared->second);
          if (is_given(frame)) clean = given(frame, 0);
          if (last) cleans[step][frame] = clean;
          state[j] =
              last ? stepped(clean, state[j], step) : renoised(clean, frame, step, round + 1);
        }
      }
    }
    for (std::size_t j = 0; j < state.size(); ++j) {
      const int frame = window.frames[j];
      finals[frame] = is_given(frame) ? given(frame, request.steps) : state[j];
    }
    before = std::move(cleans);
  }
  return finals;
}

}  // namespace

std::map<int, std::uint64_t> plain_loop(const PlanRequest& request) {
  return request.coherence == Coherence::kCausal ? plain_causal(request) : plain_local(request);
}

}  // namespace seamwright::scheduling
