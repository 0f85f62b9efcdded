#include "worker/durability.h"

namespace seamwright::worker {

Durability::Durability(const scheduling::PlanRequest& request,
                       const scheduling::ResumeState& resume, DurableStore* store,
                       comm::Fabric* fabric, std::uint32_t run)
    : board_(request, resume), store_(store), fabric_(fabric), run_(run) {
  if (store_ == nullptr) return;
  RecordKeeper::Events events;
  events.durable = [this](const std::vector<RecordKey>& keys, int first) {
    on_durable(keys, first);
  };
  events.failed = [this](const Error& error) { tell(&error); };
  keeper_ = std::make_unique<RecordKeeper>(request, *store_, std::move(events));
}

Durability::~Durability() {
  set_listener({});
  keeper_.reset();
}

void Durability::save(RecordKey key, comm::Bytes bytes) {
  if (board_.has(key)) return;  // from another rank that has the same frame
  if (keeper_) {
    keeper_->save(key, std::move(bytes));
  } else {
    fabric_->post(0, encode({MailKind::kSave, {key}, {}, std::move(bytes), run_}));
  }
}

comm::Bytes Durability::load(RecordKey key) {
  if (store_ != nullptr) return store_->load_record(key);
  fabric_->post(0, encode({MailKind::kLoad, {key}, {}, {}, run_}));
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return ended_ || loaded_.contains(key); });
  if (ended_) throw Error(*ended_);
  return std::move(loaded_.extract(key).mapped());
}

void Durability::published(std::int64_t first_missing_frame) {
  ensure(keeper_ != nullptr, "only rank 0 publishes");
  keeper_->published(static_cast<int>(first_missing_frame));
}

void Durability::set_listener(std::function<void(const Error*)> listener) {
  const std::lock_guard lock(listener_mutex_);
  listener_ = std::move(listener);
}

void Durability::end(const Error& error) {
  const std::lock_guard lock(mutex_);
  if (!ended_) ended_ = error;
  changed_.notify_all();
}

void Durability::tell(const Error* error) {
  const std::lock_guard lock(listener_mutex_);
  if (listener_) listener_(error);
}

void Durability::on_durable(const std::vector<RecordKey>& keys, int first_missing_frame) {
  board_.add(keys, first_missing_frame);
  tell(nullptr);
  if (fabric_ == nullptr) return;
  const auto bytes = encode({MailKind::kDurable, keys, {first_missing_frame}, {}, run_});
  for (int rank = 1; rank < fabric_->size(); ++rank) fabric_->post(rank, bytes);
}

void Durability::receive(int from, GangMail mail) {
  const auto key = mail.keys.empty() ? RecordKey{} : mail.keys.front();
  switch (mail.kind) {
    case MailKind::kSave:
      ensure(keeper_ != nullptr, "rank {} keeps no records", fabric_->rank());
      keeper_->save(key, std::move(mail.payload));
      return;
    case MailKind::kLoad:
      ensure(keeper_ != nullptr, "rank {} keeps no records", fabric_->rank());
      keeper_->load(key, [this, from, key](comm::Bytes payload) {
        fabric_->post(from, encode({MailKind::kLoaded, {key}, {}, std::move(payload), run_}));
      });
      return;
    case MailKind::kLoaded: {
      const std::lock_guard lock(mutex_);
      loaded_[key] = std::move(mail.payload);
      changed_.notify_all();
      return;
    }
    case MailKind::kDurable:
      board_.add(mail.keys, static_cast<int>(mail.numbers.at(0)));
      tell(nullptr);
      return;
    case MailKind::kProgress:
    case MailKind::kStop:
    case MailKind::kSpans:
      break;
  }
  fail(ErrorCode::kInternal, "mail of kind {} is not about records", static_cast<int>(mail.kind));
}

}  // namespace seamwright::worker
