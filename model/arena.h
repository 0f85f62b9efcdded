// An allocator that learns: the first run of an evaluation records when each tensor is taken and
// given back, then all of it is laid out in one block, and later runs with the same sequence take
// their addresses from that plan without asking the system for memory.
// Threads: runs and takings from one thread at a time; tensors may be given back from any thread,
// since what crosses a stage cut is freed by the thread that sent it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "model/tensor.h"

namespace seamwright::model {

// One tensor's life within a run, in steps of the run's sequence of takings and givings back.
struct Lifetime {
  static constexpr std::size_t kEscapes = SIZE_MAX;  // still in use when the run ended
  std::size_t bytes = 0;
  std::size_t begin = 0;
  std::size_t end = kEscapes;
  bool operator==(const Lifetime&) const = default;
};

struct ArenaPlan {
  static constexpr std::size_t kElsewhere = SIZE_MAX;  // tensors that outlive a run
  std::vector<std::size_t> offsets;                    // one per lifetime, 64-byte aligned
  std::size_t bytes = 0;                               // of the whole block
};

// Places every lifetime so that those alive at once do not overlap: largest first, each at the
// lowest free offset. A pure function of its input.
ArenaPlan plan_arena(const std::vector<Lifetime>& lifetimes);

// The most bytes alive at once: what no layout can go below.
std::size_t peak_bytes(const std::vector<Lifetime>& lifetimes);

class Arena final : public Allocator {
 public:
  explicit Arena(Allocator& upstream) : Arena(upstream, &upstream == &heap()) {}
  // `keeps`: what a run being recorded gives back serves the rest of it before upstream does.
  Arena(Allocator& upstream, bool keeps) : upstream_(upstream), keeps_(keeps) {}
  ~Arena() override;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Networks mark their own evaluations, so users just pass the arena along. Runs with the same key
  // are expected to take and give back the same sizes in the same order; one that does not is
  // served from upstream, and planned anew. Tensors may outlive their run. Outside of runs,
  // everything comes from upstream; runs within a run belong to it. All keys share one block.
  void begin_run(std::uint64_t key) override;
  void end_run() noexcept override;

  void* allocate(std::size_t bytes) override;
  void release(void* data, std::size_t bytes) noexcept override;

  struct Report {
    std::size_t block_bytes = 0;      // the block all plans share
    std::size_t blocks_made = 0;      // another one lies elsewhere
    std::size_t peak_live_bytes = 0;  // most in use at once within any run
    std::size_t runs_recorded = 0;    // first of their key, or with a new sequence
    std::size_t runs_replayed = 0;
  };
  Report report() const {
    const std::lock_guard lock(mutex_);
    return report_;
  }

 private:
  struct Block {
    std::byte* data = nullptr;
    std::size_t bytes = 0;
    std::size_t in_use = 0;  // tensors
  };
  struct Plan {
    std::vector<Lifetime> lifetimes;
    ArenaPlan layout;
  };
  struct Live {
    std::size_t index;  // into lifetimes_ of its run
    std::uint64_t run;  // 0: outside of runs
    Block* block;       // null: upstream
  };
  void* from_plan(std::size_t bytes);
  void* from_spare(std::size_t bytes);
  void give_back(void* data, std::size_t bytes, bool within_run) noexcept;
  void drop_spares(std::size_t most_bytes) noexcept;
  void note_release(const Live& live);
  void ensure_block(std::size_t bytes);
  void free_block(Block& block) noexcept;

  Allocator& upstream_;
  mutable std::mutex mutex_;  // of everything below
  std::map<std::uint64_t, Plan> plans_;
  std::unique_ptr<Block> block_;
  std::vector<std::unique_ptr<Block>> retired_;  // outgrown, but with tensors still in them
  std::unordered_map<void*, Live> live_;

  std::uint64_t run_ = 0, runs_started_ = 0;  // run_ 0: none in progress
  int depth_ = 0;
  std::uint64_t key_ = 0;
  const Plan* replay_ = nullptr;     // null: recording
  std::vector<Lifetime> lifetimes_;  // of the run in progress
  std::size_t step_ = 0;
  // What a run being recorded gave back to the heap, oldest first, for the next of the same size:
  // pages asked for anew are zeroed by the system, 5 GB of them for the first four frames of a full
  // VAE at 256x256. At most as much as has been alive at once, and nothing between runs. A device's
  // pool does this itself.
  struct Spare {
    void* data;
    std::size_t bytes;
  };
  const bool keeps_;
  std::deque<Spare> spares_;
  std::size_t spare_bytes_ = 0, live_bytes_ = 0, most_live_bytes_ = 0;  // of the run in progress
  Report report_;
};

}  // namespace seamwright::model
