// A gang whose ranks are threads of this process.
#include <algorithm>
#include <thread>

#include "base/error.h"
#include "comm/loopback/loopback.h"
#include "worker/generate.h"

namespace seamwright::worker {
namespace {

bool is_stop(const std::exception& error) {
  const auto* own = dynamic_cast<const Error*>(&error);
  return own != nullptr && own->code() == ErrorCode::kCancelled;
}

}  // namespace

void rethrow_cause(const std::vector<std::exception_ptr>& failures) {
  std::exception_ptr first;
  for (const auto& failure : failures) {
    if (!failure) continue;
    if (!first) first = failure;
    try {
      std::rethrow_exception(failure);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kUnavailable && error.code() != ErrorCode::kCancelled) throw;
    }
  }
  if (first) std::rethrow_exception(first);
}

GenerateResult generate(const GenerateOptions& options, const GenerateHooks& hooks) {
  scheduling::validate(options.layout);
  const int size = options.layout.ranks();
  if (size == 1) return generate_as_rank(options, hooks, 0, nullptr);
  GenerateOptions each = options;
  if (each.threads <= 0) {
    each.threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / size);
  }
  each.one_process = true;
  comm::LoopbackGang gang(size);
  std::vector<std::thread> threads;
  std::vector<std::exception_ptr> failures(static_cast<std::size_t>(size));
  GenerateResult result;
  GenerateHooks others;
  others.task = hooks.task;
  const auto member = [&](int rank) {
    try {
      auto own = generate_as_rank(each, rank == 0 ? hooks : others, rank, &gang.fabric(rank));
      if (rank == 0) result = std::move(own);
    } catch (const std::exception& error) {
      failures[static_cast<std::size_t>(rank)] = std::current_exception();
      // Stopped, all ranks together: rank 0 has what is done so far.
      if (is_stop(error) && rank != 0 && !gang.fabric(rank).aborted()) return;
      gang.fabric(rank).abort(fmt::format("rank {}: {}", rank, error.what()));
    }
  };
  for (int rank = 1; rank < size; ++rank) threads.emplace_back(member, rank);
  member(0);
  for (auto& thread : threads) thread.join();
  if (failures.front()) rethrow_cause(failures);
  return result;
}

}  // namespace seamwright::worker
