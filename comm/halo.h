// Which frames of a window other ranks need, and how they are packed: arithmetic that knows no
// transport.
// Threads: pure functions.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "comm/buffer.h"

namespace seamwright::comm {

// One window of one step: the frames it covers in position order, and the rank that predicts it.
struct HaloWindow {
  std::vector<int> frames;
  int rank = 0;
};

// What `window` sends to `to_rank` at one boundary: the frames at these positions, each once,
// however many windows of that rank share it.
struct Halo {
  int window = 0;
  int to_rank = 0;
  std::vector<int> positions;  // in the window, ascending

  bool operator==(const Halo&) const = default;
};

// Everything that crosses between ranks so that each rank holds, for every frame of its windows,
// the predictions of all windows that cover it. Ordered by window, then rank. A window may hold a
// frame twice (looped schedules of short videos): both positions travel.
std::vector<Halo> find_halos(std::span<const HaloWindow> windows);

// The windows that share a frame with `window`, ascending, without itself.
std::vector<int> find_neighbours(std::span<const HaloWindow> windows, int window);

std::size_t halo_bytes(const Halo& halo, std::size_t frame_bytes);

// Frames lie one after the other, frame_bytes each. Copies those at `positions` into `packed`, in
// that order; and back.
void pack_frames(std::span<const std::byte> frames, std::size_t frame_bytes,
                 std::span<const int> positions, std::span<std::byte> packed);
void unpack_frames(std::span<const std::byte> packed, std::size_t frame_bytes,
                   std::span<const int> positions, std::span<std::byte> frames);

}  // namespace seamwright::comm
