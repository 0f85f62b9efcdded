#include "worker/rank_services.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace seamwright::worker {

RankServices::RankServices(const GenerateOptions& options, const GenerateHooks& hooks,
                           const Job& job, GangPlan& plan, int rank, comm::Fabric* fabric,
                           const OpenStore& open)
    : fabric_(fabric), run_(options.run), task_time_(hooks.task) {
  Recovery own;
  if (rank == 0) own = take_over(options, hooks, job, plan, open);
  recovery_ = share_recovery(own, fabric);
  plan.request.checkpoint_interval = recovery_.checkpoint_interval;
  failpoints_.emplace(options.failpoint, rank, recovery_.attempt);
  if (recovery_.kept) {
    durability_.emplace(plan.request, recovery_.resume, store_.get(), fabric, run_);
  }
  start_watch(options, hooks, plan);
  if (fabric_ == nullptr) return;
  fabric_->set_mail_handler([this](int from, const comm::Bytes& bytes) { on_mail(from, bytes); });
}

RankServices::~RankServices() {
  if (fabric_ != nullptr) fabric_->set_mail_handler({});
}

Recovery RankServices::take_over(const GenerateOptions& options, const GenerateHooks& hooks,
                                 const Job& job, const GangPlan& plan, const OpenStore& open) {
  FolderStoreOptions folder;
  if (hooks.note) {
    folder.warn = [&hooks](const std::string& line) { hooks.note("warning: " + line); };
  }
  folder.step = [this](const char* where) {
    if (failpoints_) failpoints_->on_step(where);
  };
  store_ = open(folder);
  Recovery recovery;
  if (!store_) return recovery;
  const auto& state = store_->state();
  recovery.kept = true;
  recovery.attempt = state.attempt;
  recovery.resume = state.resume_state();
  recovery.checkpoint_interval = interval_beside(
      state, choose_checkpoint_interval(options.checkpoint_steps, job, plan, state.write_s));
  store_->keep_interval(std::max(recovery.checkpoint_interval, state.checkpoint_interval));
  return recovery;
}

void RankServices::start_watch(const GenerateOptions& options, const GenerateHooks& hooks,
                               const GangPlan& plan) {
  const int visits = plan.layout.visits();
  WatchLimits limits = limits_for(plan.costs);
  if (options.stall_limit_s > 0) {
    limits.at_least = std::chrono::milliseconds(static_cast<int>(options.stall_limit_s * 1000));
    limits.grace = 10 * limits.at_least;
  }
  ProgressWatch::Events events;
  events.well = hooks.alive;
  events.hung = [this, lost = hooks.lost](const Error& error) {
    if (fabric_ != nullptr) fabric_->abort(error.what());
    if (lost) lost(error);
  };
  if (store_) {
    events.forwards = [this, visits](std::int64_t forwards) {
      store_->note_evaluations(forwards / visits);
    };
  }
  watch_.emplace(limits, fabric_, std::move(events), run_);
}

void RankServices::tell_stop() {
  if (fabric_ == nullptr || fabric_->rank() != 0) return;
  for (int rank = 1; rank < fabric_->size(); ++rank) {
    fabric_->post(rank, encode({MailKind::kStop, {}, {}, {}, run_}));
  }
}

void RankServices::set_stop_handler(std::function<void()> handler) {
  const std::lock_guard lock(stop_mutex_);
  stop_handler_ = std::move(handler);
  if (stop_told_ && stop_handler_) stop_handler_();
}

void RankServices::on_mail(int from, const comm::Bytes& bytes) {
  try {
    auto mail = decode_gang_mail(bytes);
    if (mail.run != run_) return;  // of an earlier job that was stopped
    if (mail.kind == MailKind::kProgress) {
      watch_->heard(from, mail);
    } else if (mail.kind == MailKind::kSpans) {
      read_spans(from, mail, task_time_);
    } else if (mail.kind == MailKind::kStop) {
      const std::lock_guard lock(stop_mutex_);
      stop_told_ = true;
      if (stop_handler_) stop_handler_();
    } else {
      ensure(durability_.has_value(), "rank {} sent a record, but none are kept", from);
      durability_->receive(from, std::move(mail));
    }
  } catch (const Error& error) {
    // A record for a store that was ended by a stop: the ranks end together.
    if (error.code() != ErrorCode::kCancelled) fabric_->abort(error.what());
  }
}

}  // namespace seamwright::worker
