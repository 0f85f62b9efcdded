// Arithmetic on hashes in place of a network and a sampler: any change of any input changes it.
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

namespace seamwright::scheduling {

inline std::uint64_t join(std::initializer_list<std::uint64_t> parts) {
  std::uint64_t hash = 0x243F6A8885A308D3ULL;
  for (const std::uint64_t part : parts) {
    hash = (hash ^ part) * 0x9E3779B97F4A7C15ULL;
    hash ^= hash >> 29;
  }
  return hash;
}

inline std::uint64_t number(int value) { return static_cast<std::uint64_t>(value) + 1000; }

inline std::uint64_t noise(int frame) { return join({1, number(frame)}); }

inline std::uint64_t given(int frame, int level) { return join({7, number(frame), number(level)}); }

// One branch of the network: every position sees the whole window.
inline std::uint64_t network(const std::vector<std::uint64_t>& input, int step, int branch) {
  std::uint64_t hash = join({2, number(step), number(branch)});
  for (const std::uint64_t value : input) hash = join({hash, value});
  return hash;
}

inline std::uint64_t guided(const std::vector<std::uint64_t>& outputs, int position) {
  std::uint64_t hash = join({3, number(position)});
  for (const std::uint64_t value : outputs) hash = join({hash, value});
  return hash;
}

inline std::uint64_t renoised(std::uint64_t clean, int frame, int step, int round) {
  return join({4, clean, number(frame), number(step), number(round)});
}

inline std::uint64_t mixed(std::uint64_t own, std::uint64_t input, std::uint64_t predecessor) {
  return join({5, own, input, predecessor});
}

inline std::uint64_t stepped(std::uint64_t clean, std::uint64_t input, int step) {
  return join({6, clean, input, number(step)});
}

}  // namespace seamwright::scheduling
