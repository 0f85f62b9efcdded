// What runs beside a rank's tasks: the store and its records, the watch over the gang, mail between
// ranks, and faults for tests.
// Threads: one object per rank, made and destroyed by the thread that runs the rank.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "comm/fabric.h"
#include "worker/durability.h"
#include "worker/failpoint.h"
#include "worker/folder_store.h"
#include "worker/generate.h"
#include "worker/progress_watch.h"
#include "worker/recovery.h"
#include "worker/task_spans.h"

namespace seamwright::worker {

class RankServices {
 public:
  using OpenStore = std::function<std::unique_ptr<DurableStore>(const FolderStoreOptions&)>;

  // Every rank, once it has loaded. Rank 0 opens the store (null where nothing is kept), and all
  // take over what earlier attempts left: the plan's request gets the interval between records.
  RankServices(const GenerateOptions& options, const GenerateHooks& hooks, const Job& job,
               GangPlan& plan, int rank, comm::Fabric* fabric, const OpenStore& open);
  ~RankServices();
  RankServices(const RankServices&) = delete;
  RankServices& operator=(const RankServices&) = delete;

  const Recovery& recovery() const { return recovery_; }
  DurableStore* store() { return store_.get(); }
  // Null where nothing is kept.
  Durability* durability() { return durability_ ? &*durability_ : nullptr; }
  ProgressWatch& watch() { return *watch_; }
  Failpoints& failpoints() { return *failpoints_; }

  // Rank 0 tells the others to stop; they call their handler, at once if it comes too late.
  void tell_stop();
  void set_stop_handler(std::function<void()> handler);

 private:
  Recovery take_over(const GenerateOptions& options, const GenerateHooks& hooks, const Job& job,
                     const GangPlan& plan, const OpenStore& open);
  void start_watch(const GenerateOptions& options, const GenerateHooks& hooks,
                   const GangPlan& plan);
  void on_mail(int from, const comm::Bytes& bytes);

  comm::Fabric* fabric_;
  const std::uint32_t run_;
  const TaskTime task_time_;
  std::mutex stop_mutex_;  // held while the handler runs
  bool stop_told_ = false;
  std::function<void()> stop_handler_;
  Recovery recovery_;
  std::optional<Failpoints> failpoints_;  // the store's thread uses them
  std::unique_ptr<DurableStore> store_;   // rank 0
  std::optional<Durability> durability_;
  std::optional<ProgressWatch> watch_;
};

}  // namespace seamwright::worker
