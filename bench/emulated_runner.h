// Executes a plan's tasks without a model: a forward visit takes its planned time asleep, and every
// task mixes what it reads into what it makes, so that one lost or swapped message changes the
// hash. Local coherence only.
// Threads: one thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "scheduling/plan.h"
#include "scheduling/windows.h"
#include "worker/data_store.h"
#include "worker/datum_pool.h"
#include "worker/task_executor.h"

namespace seamwright::bench {

struct EmulationOptions {
  double jitter = 0;  // each visit's time is multiplied by 1 +- this, by (seed, task)
  std::uint64_t seed = 1;
};

class EmulatedRunner final : public worker::TaskExecutor {
 public:
  // Takes its data from `pool`. Throws kUnsupported for causal coherence.
  EmulatedRunner(const scheduling::PlanRequest& plan, const scheduling::CostTable& costs,
                 const EmulationOptions& options, worker::DataStore& store,
                 std::shared_ptr<worker::DatumPool> pool);

  void run(const scheduling::PlannedTask& planned) override;

  double busy_seconds() const { return busy_seconds_; }  // slept, as asked
  double late_seconds() const { return late_seconds_; }  // slept on top: sleeps end late
  std::int64_t forwards() const { return forwards_; }
  // Of all frames emitted so far, in order; rank 0 only. A function of the request alone.
  std::uint64_t hash() const { return hash_; }
  using Clock = std::chrono::steady_clock;
  Clock::time_point first_output() const { return first_output_; }

 private:
  using Task = scheduling::Task;
  using DataId = scheduling::DataId;
  std::uint64_t key_of(const Task& task, std::uint64_t salt) const;
  std::uint64_t frame_hash(int step, const std::vector<DataId>& inputs, int frame) const;
  std::uint64_t input_hash(const scheduling::PlannedTask& planned) const;
  std::uint64_t carried_hash(const scheduling::PlannedTask& planned) const;
  void take_time(const Task& task, Clock::time_point begin);
  std::shared_ptr<worker::Datum> datum(const scheduling::DataRef& ref, std::uint64_t hash) const;
  std::size_t row_size(const DataId& id, std::size_t floats) const;

  const scheduling::PlanRequest& plan_;
  scheduling::WindowSchedule schedule_;
  const scheduling::CostTable& costs_;
  EmulationOptions options_;
  worker::DataStore& store_;
  std::shared_ptr<worker::DatumPool> pool_;
  double busy_seconds_ = 0, late_seconds_ = 0;
  std::int64_t forwards_ = 0;
  std::uint64_t hash_ = 0;
  Clock::time_point first_output_{};
};

}  // namespace seamwright::bench
