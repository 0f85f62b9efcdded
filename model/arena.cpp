#include "model/arena.h"

#include <algorithm>
#include <new>
#include <numeric>

namespace seamwright::model {
namespace {

std::size_t aligned(std::size_t bytes) { return (std::max<std::size_t>(bytes, 1) + 63) / 64 * 64; }

bool overlap_in_time(const Lifetime& a, const Lifetime& b) {
  return a.begin < b.end && b.begin < a.end;
}

struct Range {
  std::size_t begin, end;
};

// The lowest offset with `bytes` free between the taken ranges, which get sorted.
std::size_t lowest_gap(std::vector<Range>& taken, std::size_t bytes) {
  std::ranges::sort(taken, {}, &Range::begin);
  std::size_t offset = 0;
  for (const Range& range : taken) {
    if (range.begin >= offset + bytes) break;
    offset = std::max(offset, range.end);
  }
  return offset;
}

}  // namespace

ArenaPlan plan_arena(const std::vector<Lifetime>& lifetimes) {
  ArenaPlan plan;
  plan.offsets.assign(lifetimes.size(), ArenaPlan::kElsewhere);
  std::vector<std::size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(
      order, [&](std::size_t a, std::size_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });
  std::vector<std::size_t> placed;
  std::vector<Range> taken;
  for (std::size_t i : order) {
    if (lifetimes[i].end == Lifetime::kEscapes) continue;
    taken.clear();
    for (std::size_t j : placed) {
      if (!overlap_in_time(lifetimes[i], lifetimes[j])) continue;
      taken.push_back({plan.offsets[j], plan.offsets[j] + aligned(lifetimes[j].bytes)});
    }
    const std::size_t bytes = aligned(lifetimes[i].bytes);
    plan.offsets[i] = lowest_gap(taken, bytes);
    plan.bytes = std::max(plan.bytes, plan.offsets[i] + bytes);
    placed.push_back(i);
  }
  return plan;
}

std::size_t peak_bytes(const std::vector<Lifetime>& lifetimes) {
  std::vector<std::pair<std::size_t, std::ptrdiff_t>> changes;
  for (const auto& life : lifetimes) {
    const auto bytes = static_cast<std::ptrdiff_t>(life.bytes);
    changes.emplace_back(life.begin, bytes);
    if (life.end != Lifetime::kEscapes) changes.emplace_back(life.end, -bytes);
  }
  std::ranges::sort(changes);
  std::ptrdiff_t now = 0, peak = 0;
  for (const auto& [step, change] : changes) peak = std::max(peak, now += change);
  return static_cast<std::size_t>(peak);
}

Arena::~Arena() {
  drop_spares(0);
  if (block_) free_block(*block_);
  for (auto& block : retired_) free_block(*block);
}

void Arena::begin_run(std::uint64_t key) {
  const std::lock_guard lock(mutex_);
  if (++depth_ > 1) return;
  run_ = ++runs_started_;
  key_ = key;
  lifetimes_.clear();
  step_ = 0;
  live_bytes_ = most_live_bytes_ = 0;
  const auto found = plans_.find(key);
  replay_ = found != plans_.end() ? &found->second : nullptr;
  if (replay_ != nullptr) ensure_block(replay_->layout.bytes);
}

void Arena::end_run() noexcept {
  const std::lock_guard lock(mutex_);
  if (--depth_ > 0) return;
  const bool replayed = replay_ != nullptr && lifetimes_ == replay_->lifetimes;
  if (replayed) {
    ++report_.runs_replayed;
  } else {
    ++report_.runs_recorded;
    report_.peak_live_bytes = std::max(report_.peak_live_bytes, peak_bytes(lifetimes_));
    Plan plan{lifetimes_, plan_arena(lifetimes_)};
    plans_.insert_or_assign(key_, std::move(plan));
  }
  run_ = 0;
  replay_ = nullptr;
  drop_spares(0);
}

void* Arena::allocate(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  void* data = replay_ != nullptr ? from_plan(bytes) : nullptr;
  Block* const block = data != nullptr ? block_.get() : nullptr;
  if (data == nullptr) data = from_spare(bytes);
  if (data == nullptr) data = upstream_.allocate(bytes);
  if (block != nullptr) ++block->in_use;
  if (run_ != 0) most_live_bytes_ = std::max(most_live_bytes_, live_bytes_ += bytes);
  live_.insert_or_assign(data, Live{lifetimes_.size(), run_, block});
  if (run_ != 0) lifetimes_.push_back({bytes, step_++, Lifetime::kEscapes});
  return data;
}

// Null where upstream has to serve: the plan says so, or the sequence has left the plan.
void* Arena::from_plan(std::size_t bytes) {
  const std::size_t index = lifetimes_.size();
  const auto& planned = replay_->lifetimes;
  if (index >= planned.size() || planned[index].bytes != bytes || planned[index].begin != step_) {
    replay_ = nullptr;
    return nullptr;
  }
  const std::size_t offset = replay_->layout.offsets[index];
  return offset == ArenaPlan::kElsewhere ? nullptr : block_->data + offset;
}

void Arena::release(void* data, std::size_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = live_.find(data);
  if (found == live_.end()) return;  // never ours; a destructor must not throw
  const Live live = found->second;
  live_.erase(found);
  const bool within_run = live.run != 0 && live.run == run_;
  if (within_run) {
    note_release(live);
    live_bytes_ -= bytes;
  }
  if (live.block == nullptr) return give_back(data, bytes, within_run);
  --live.block->in_use;
  const auto retired = std::ranges::find(retired_, live.block, &std::unique_ptr<Block>::get);
  if (retired != retired_.end() && live.block->in_use == 0) {
    free_block(**retired);
    retired_.erase(retired);
  }
}

void* Arena::from_spare(std::size_t bytes) {
  // The newest first: it is likeliest to be in a cache.
  const auto found = std::find_if(spares_.rbegin(), spares_.rend(),
                                  [&](const Spare& spare) { return spare.bytes == bytes; });
  if (found == spares_.rend()) return nullptr;
  void* const data = found->data;
  spare_bytes_ -= bytes;
  spares_.erase(std::next(found).base());
  return data;
}

void Arena::give_back(void* data, std::size_t bytes, bool within_run) noexcept {
  constexpr std::size_t kWorthKeeping = std::size_t{1} << 20;  // less comes from malloc's own lists
  if (!keeps_ || !within_run || bytes < kWorthKeeping) return upstream_.release(data, bytes);
  try {
    spares_.push_back({data, bytes});
  } catch (const std::bad_alloc&) {
    return upstream_.release(data, bytes);
  }
  spare_bytes_ += bytes;
  drop_spares(most_live_bytes_);
}

void Arena::drop_spares(std::size_t most_bytes) noexcept {
  while (spare_bytes_ > most_bytes) {
    upstream_.release(spares_.front().data, spares_.front().bytes);
    spare_bytes_ -= spares_.front().bytes;
    spares_.pop_front();
  }
}

// A tensor given back out of turn: what the plan puts in its place next may be too early.
void Arena::note_release(const Live& live) {
  lifetimes_[live.index].end = step_;
  if (replay_ != nullptr && replay_->lifetimes[live.index].end != step_) replay_ = nullptr;
  ++step_;
}

void Arena::ensure_block(std::size_t bytes) {
  if (block_ && block_->in_use > 0) retired_.push_back(std::move(block_));
  if (block_ && block_->bytes >= bytes) return;
  if (block_) free_block(*block_);
  block_ = std::make_unique<Block>();
  block_->data = static_cast<std::byte*>(upstream_.allocate(bytes));
  block_->bytes = bytes;
  report_.block_bytes = bytes;
  ++report_.blocks_made;
}

void Arena::free_block(Block& block) noexcept {
  if (block.data != nullptr) upstream_.release(block.data, block.bytes);
  block.data = nullptr;
}

}  // namespace seamwright::model
