#include "comm/halo.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "base/error.h"

namespace seamwright::comm {
namespace {

void check_positions(std::size_t frames_size, std::size_t frame_bytes,
                     std::span<const int> positions, std::size_t packed_size) {
  ensure(frame_bytes > 0 && frames_size % frame_bytes == 0,
         "{} bytes are no whole number of frames of {} bytes", frames_size, frame_bytes);
  ensure(packed_size == positions.size() * frame_bytes,
         "{} frames of {} bytes do not make {} bytes", positions.size(), frame_bytes, packed_size);
  const std::size_t count = frames_size / frame_bytes;
  for (const int position : positions) {
    ensure(position >= 0 && static_cast<std::size_t>(position) < count,
           "position {} of a window of {} frames", position, count);
  }
}

}  // namespace

std::vector<Halo> find_halos(std::span<const HaloWindow> windows) {
  // For each frame, the ranks that need its predictions.
  std::map<int, std::set<int>> readers;
  for (const HaloWindow& window : windows) {
    for (const int frame : window.frames) readers[frame].insert(window.rank);
  }
  std::vector<Halo> halos;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    std::map<int, std::vector<int>> positions;  // per rank
    for (std::size_t p = 0; p < windows[w].frames.size(); ++p) {
      for (const int rank : readers[windows[w].frames[p]]) {
        if (rank != windows[w].rank) positions[rank].push_back(static_cast<int>(p));
      }
    }
    for (auto& [rank, list] : positions) halos.push_back({static_cast<int>(w), rank, list});
  }
  return halos;
}

std::vector<int> find_neighbours(std::span<const HaloWindow> windows, int window) {
  ensure(window >= 0 && static_cast<std::size_t>(window) < windows.size(), "window {} of {}",
         window, windows.size());
  const auto& own = windows[static_cast<std::size_t>(window)].frames;
  const std::set<int> frames(own.begin(), own.end());
  std::vector<int> neighbours;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    const bool shares = std::any_of(windows[w].frames.begin(), windows[w].frames.end(),
                                    [&](int frame) { return frames.contains(frame); });
    if (shares && static_cast<int>(w) != window) neighbours.push_back(static_cast<int>(w));
  }
  return neighbours;
}

std::size_t halo_bytes(const Halo& halo, std::size_t frame_bytes) {
  return halo.positions.size() * frame_bytes;
}

void pack_frames(std::span<const std::byte> frames, std::size_t frame_bytes,
                 std::span<const int> positions, std::span<std::byte> packed) {
  check_positions(frames.size(), frame_bytes, positions, packed.size());
  for (std::size_t i = 0; i < positions.size(); ++i) {
    const std::size_t at = static_cast<std::size_t>(positions[i]) * frame_bytes;
    std::memcpy(packed.data() + i * frame_bytes, frames.data() + at, frame_bytes);
  }
}

void unpack_frames(std::span<const std::byte> packed, std::size_t frame_bytes,
                   std::span<const int> positions, std::span<std::byte> frames) {
  check_positions(frames.size(), frame_bytes, positions, packed.size());
  for (std::size_t i = 0; i < positions.size(); ++i) {
    const std::size_t at = static_cast<std::size_t>(positions[i]) * frame_bytes;
    std::memcpy(frames.data() + at, packed.data() + i * frame_bytes, frame_bytes);
  }
}

}  // namespace seamwright::comm
