// The emulated grid: fibers for the threads of a block, in one host thread.
#include "model/cuda/kernels/emulated.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <vector>

#if !defined(__x86_64__)
#error "the emulated grid changes fibers in x86-64 assembly"
#endif

// Puts the registers that a call keeps on the stack, its place into *from, and goes on where `to`
// did the same. The C library's own way makes two system calls each time, which takes all the time.
extern "C" void seamwright_change_fiber(void** from, void* to);
asm(R"(
.text
.globl seamwright_change_fiber
.type seamwright_change_fiber, @function
seamwright_change_fiber:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size seamwright_change_fiber, .-seamwright_change_fiber
)");

namespace seamwright::model::cuda {
namespace emulated {
namespace {

constexpr std::size_t kStackBytes = 96 << 10;
constexpr int kWarp = 32;

enum class Waits : std::uint8_t { kNot, kForWarp, kForBlock, kDone };

struct Fiber {
  void* place = nullptr;  // its stack's end while others run
  std::unique_ptr<unsigned char[]> stack;
  Waits waits = Waits::kNot;
};

// One host thread's emulator.
class Block {
 public:
  void run(int threads, const std::function<void()>& body);
  void yield(Waits why);

  Place place;
  std::vector<WarpSlot> slots;
  bool backwards = false;

 private:
  static void enter();
  void start(int thread);
  bool turn(int thread);
  bool release();
  bool release_if_met(int begin, int end, Waits why);

  std::vector<Fiber> fibers_;
  void* scheduler_ = nullptr;
  const std::function<void()>* body_ = nullptr;
  std::exception_ptr failure_;
};

Block& block() {
  static thread_local Block one;
  return one;
}

void Block::enter() {
  Block& self = block();
  const int thread = self.place.thread;
  try {
    (*self.body_)();
  } catch (...) {
    if (!self.failure_) self.failure_ = std::current_exception();
  }
  Fiber& fiber = self.fibers_[static_cast<std::size_t>(thread)];
  fiber.waits = Waits::kDone;
  seamwright_change_fiber(&fiber.place, self.scheduler_);
}

void Block::start(int thread) {
  Fiber& fiber = fibers_[static_cast<std::size_t>(thread)];
  if (!fiber.stack) fiber.stack = std::make_unique<unsigned char[]>(kStackBytes);
  // As if enter() had just been called: its stack is 16-byte aligned but for a return address.
  auto* top = reinterpret_cast<void**>(
      (reinterpret_cast<std::uintptr_t>(fiber.stack.get()) + kStackBytes) / 16 * 16);
  void** frame = top - 8;  // six registers, enter's address, no return
  std::fill(frame, top, nullptr);
  frame[6] = reinterpret_cast<void*>(&Block::enter);
  fiber.place = frame;
  fiber.waits = Waits::kNot;
}

bool Block::turn(int thread) {
  Fiber& fiber = fibers_[static_cast<std::size_t>(thread)];
  if (fiber.waits != Waits::kNot) return false;
  place.thread = thread;
  place.warp = slots.data() + thread / kWarp * kWarp;
  seamwright_change_fiber(&scheduler_, fiber.place);
  return true;
}

void Block::yield(Waits why) {
  const int thread = place.thread;
  Fiber& fiber = fibers_[static_cast<std::size_t>(thread)];
  fiber.waits = why;
  seamwright_change_fiber(&fiber.place, scheduler_);
}

bool Block::release_if_met(int begin, int end, Waits why) {
  for (int t = begin; t < end; ++t) {
    if (fibers_[static_cast<std::size_t>(t)].waits != why) return false;
  }
  for (int t = begin; t < end; ++t) fibers_[static_cast<std::size_t>(t)].waits = Waits::kNot;
  return true;
}

bool Block::release() {
  if (release_if_met(0, place.threads, Waits::kForBlock)) return true;
  bool any = false;
  for (int t = 0; t < place.threads; t += kWarp) {
    any = release_if_met(t, t + kWarp, Waits::kForWarp) || any;
  }
  return any;
}

void Block::run(int threads, const std::function<void()>& body) {
  fibers_.resize(std::max(fibers_.size(), static_cast<std::size_t>(threads)));
  slots.assign(static_cast<std::size_t>(threads), WarpSlot{});
  body_ = &body;
  failure_ = nullptr;
  for (int t = 0; t < threads; ++t) start(t);
  while (true) {
    bool moved = false;
    for (int i = 0; i < threads; ++i) moved = turn(backwards ? threads - 1 - i : i) || moved;
    if (failure_) std::rethrow_exception(failure_);
    if (moved || release()) continue;
    for (int t = 0; t < threads; ++t) {
      ensure(fibers_[static_cast<std::size_t>(t)].waits == Waits::kDone,
             "the threads of a block do not meet: thread {} still waits", t);
    }
    return;
  }
}

}  // namespace

Place& place() { return block().place; }
void sync_block() { block().yield(Waits::kForBlock); }
void sync_warp() { block().yield(Waits::kForWarp); }
void set_backwards(bool backwards) { block().backwards = backwards; }

namespace {

Recording*& recording() {
  static thread_local Recording* current = nullptr;
  return current;
}

}  // namespace

void record_to(Recording* to) { recording() = to; }
void run_or_record(std::function<void()> work) {
  if (recording() == nullptr) return work();
  recording()->push_back(std::move(work));
}

void run(Grid grid, int threads, std::size_t shared_bytes, bool fibers,
         const std::function<void()>& body) {
  // Nothing may count on shared memory being zero.
  Tensor shared(heap(), DType::kU8, {static_cast<std::int64_t>(shared_bytes) + 64});
  Place& here = block().place;
  here.threads = threads;
  here.grid = grid;
  here.shared = shared.view().as<unsigned char>();
  for (here.block.z = 0; here.block.z < grid.z; ++here.block.z) {
    for (here.block.y = 0; here.block.y < grid.y; ++here.block.y) {
      for (here.block.x = 0; here.block.x < grid.x; ++here.block.x) {
        if (fibers) {
          std::memset(here.shared, 0xFF, shared_bytes);
          block().run(threads, body);
          continue;
        }
        for (here.thread = 0; here.thread < threads; ++here.thread) body();
      }
    }
  }
}

}  // namespace emulated

namespace {

void load(std::uint32_t (&to)[4], const void* row, bool transposed) {
  auto& here = emulated::place();
  const int lane = here.thread % 32;
  ensure(reinterpret_cast<std::uintptr_t>(row) % 16 == 0, "a matrix row must be 16-byte aligned");
  here.warp[lane].row = row;
  sync_warp();
  for (int m = 0; m < 4; ++m) {
    const auto element = [&](int r, int c) {
      return static_cast<std::uint32_t>(
          static_cast<const std::uint16_t*>(here.warp[8 * m + r].row)[c]);
    };
    const int major = lane / 4, minor = 2 * (lane % 4);
    const std::uint32_t first = transposed ? element(minor, major) : element(major, minor);
    const std::uint32_t next = transposed ? element(minor + 1, major) : element(major, minor + 1);
    to[m] = first | next << 16;
  }
  sync_warp();
}

}  // namespace

void load_matrices(std::uint32_t (&to)[4], const void* row) { load(to, row, false); }
void load_matrices_transposed(std::uint32_t (&to)[4], const void* row) { load(to, row, true); }

void multiply_fragments_as(float (*widen)(std::uint16_t), float (&acc)[4],
                           const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  auto& here = emulated::place();
  const int lane = here.thread % 32;
  std::memcpy(here.warp[lane].a, a, sizeof a);
  here.warp[lane].b[0] = b0;
  here.warp[lane].b[1] = b1;
  sync_warp();
  const auto half_of = [&](std::uint32_t pair, int k) {
    return widen(static_cast<std::uint16_t>(k % 2 == 0 ? pair : pair >> 16));
  };
  const auto a_at = [&](int row, int k) {
    const int owner = row % 8 * 4 + k % 8 / 2, part = row / 8 + k / 8 * 2;
    return half_of(here.warp[owner].a[part], k);
  };
  const auto b_at = [&](int k, int column) {
    return half_of(here.warp[column * 4 + k % 8 / 2].b[k / 8], k);
  };
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    float sum = 0;
    for (int k = 0; k < 16; ++k) sum += a_at(row, k) * b_at(k, column);
    acc[i] += sum;
  }
  sync_warp();
}

}  // namespace seamwright::model::cuda
