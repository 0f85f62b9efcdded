#include "worker/record_keeper.h"

#include <algorithm>

#include "scheduling/retention.h"

namespace seamwright::worker {

RecordKeeper::RecordKeeper(const scheduling::PlanRequest& request, DurableStore& store,
                           Events events)
    : request_(request), schedule_(request.windows), store_(store), events_(std::move(events)) {
  const auto& state = store.state();
  first_missing_frame_ = published_ = static_cast<int>(state.first_missing_frame());
  for (const auto& key : state.records) {
    live_[key.at].insert(key.level);
    auto& newest = accepted_[key.at];
    newest = std::max(newest, key.level);
  }
  live_count_ = state.records.size();
  thread_ = std::thread([this] { run(); });
}

RecordKeeper::~RecordKeeper() {
  // A store that was ended meanwhile, as by a stop, has told whoever saved something.
  const auto flush = [this] {
    try {
      store_.flush();
    } catch (const Error&) {  // NOLINT(bugprone-empty-catch)
    }
  };
  flush();  // its acknowledgements come to this object
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
  flush();
}

void RecordKeeper::save(RecordKey key, comm::Bytes bytes) {
  const std::lock_guard lock(mutex_);
  auto& newest = accepted_[key.at];
  if (key.level <= newest) return;
  newest = key.level;
  ++records_saved_;
  bytes_saved_ += static_cast<std::int64_t>(bytes.size());
  saves_.push_back({key, std::move(bytes)});
  changed_.notify_all();
}

void RecordKeeper::hand_over(Save save) {
  const auto key = save.key;
  const auto acknowledge = [this, key](const Error* error) {
    if (error != nullptr) {
      fail_with(*error);
      return;
    }
    const std::lock_guard lock(mutex_);
    durable_.push_back(key);
    changed_.notify_all();
  };
  // A store that was ended by a stop throws as well: a task may wait for this very record.
  store_.save_record(key, std::move(save.bytes), acknowledge);
}

void RecordKeeper::load(RecordKey key, std::function<void(comm::Bytes)> loaded) {
  const std::lock_guard lock(mutex_);
  loads_.push_back({key, std::move(loaded)});
  changed_.notify_all();
}

void RecordKeeper::published(int first_missing_frame) {
  const std::lock_guard lock(mutex_);
  first_missing_frame_ = std::max(first_missing_frame_, first_missing_frame);
  changed_.notify_all();
}

std::int64_t RecordKeeper::records_saved() const {
  const std::lock_guard lock(mutex_);
  return records_saved_;
}

std::int64_t RecordKeeper::bytes_saved() const {
  const std::lock_guard lock(mutex_);
  return bytes_saved_;
}

void RecordKeeper::fail_with(const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(failed_, true)) return;
  }
  events_.failed(error);
}

void RecordKeeper::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] {
      return stopping_ || !saves_.empty() || !durable_.empty() || !loads_.empty() ||
             first_missing_frame_ > published_;
    });
    if (stopping_ && saves_.empty()) return;
    auto saves = std::exchange(saves_, {});
    const auto durable = std::exchange(durable_, {});
    const auto loads = std::exchange(loads_, {});
    const int first_missing = first_missing_frame_;
    lock.unlock();
    try {
      if (!durable.empty() || first_missing > published_) take_durable(durable, first_missing);
      for (auto& save : saves) hand_over(std::move(save));
      for (const auto& one : loads) one.loaded(store_.load_record(one.key));
    } catch (const Error& error) {
      fail_with(error);
    } catch (const std::exception& error) {
      fail_with(Error(ErrorCode::kInternal, error.what()));
    }
    lock.lock();
  }
}

void RecordKeeper::take_durable(const std::vector<RecordKey>& durable, int first_missing_frame) {
  for (const auto& key : durable) {
    if (live_[key.at].insert(key.level).second) ++live_count_;
  }
  added_ += durable.size();
  const bool moved = first_missing_frame > published_;
  published_ = first_missing_frame;
  events_.durable(durable, first_missing_frame);
  // A look at all records for every so many new ones costs little and deletes soon enough.
  if (moved || added_ >= std::max<std::size_t>(64, live_count_ / 4)) sweep();
}

void RecordKeeper::sweep() {
  added_ = 0;
  const bool local = request_.coherence == scheduling::Coherence::kLocal;
  const auto levels = [this](int at) -> const std::set<int>* {
    const auto found = live_.find(at);
    return found == live_.end() || found->second.empty() ? nullptr : &found->second;
  };
  scheduling::DurableView view;
  view.first_missing_frame = published_;
  view.newest = [&](int at) {
    if (local && at < published_) return request_.steps;
    const auto* all = levels(at);
    return all == nullptr ? 0 : *all->rbegin();
  };
  view.oldest = [&](int at) {
    const auto* all = levels(at);
    return all == nullptr ? 0 : *all->begin();
  };
  for (auto frame = live_.begin(); frame != live_.end();) {
    auto& [at, own] = *frame;
    for (auto level = own.begin(); level != own.end();) {
      if (!scheduling::record_deletable(request_, schedule_, at, *level, view)) {
        ++level;
        continue;
      }
      store_.delete_record({at, *level});
      level = own.erase(level);
      --live_count_;
    }
    frame = own.empty() ? live_.erase(frame) : std::next(frame);
  }
  // Frames (windows) that are over; a window has a record until then.
  const int over = local ? published_ : live_.empty() ? 0 : live_.begin()->first;
  const std::lock_guard lock(mutex_);
  accepted_.erase(accepted_.begin(), accepted_.lower_bound(over));
}

}  // namespace seamwright::worker
