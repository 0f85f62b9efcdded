#include "worker/gang_link.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"

namespace seamwright::worker {
namespace {

constexpr std::chrono::milliseconds kRetryInterval{300};
// A link that ends sooner was only made to send us away, as when the gang's name is taken.
constexpr std::chrono::milliseconds kBriefLink{1000};
constexpr std::size_t kOutboxBytesMax = std::size_t{256} << 20U;

std::size_t size_of(const comm::ControlMessage& message) { return message.payload.size() + 256; }

// A message that the link refuses would wait for its acknowledgement for ever.
std::shared_ptr<const comm::ControlMessage> sendable(nlohmann::json header, comm::Bytes payload) {
  auto message = std::make_shared<comm::ControlMessage>(
      comm::ControlMessage{std::move(header), std::move(payload)});
  try {
    comm::encode_control_head(*message);
  } catch (const std::exception& error) {
    fail(ErrorCode::kResource, "{} cannot be sent to the coordinator: {}",
         message->header.value("type", "a message"), error.what());
  }
  return message;
}

}  // namespace

GangLink::GangLink(GangLinkOptions options, Handlers handlers)
    : options_(std::move(options)), handlers_(std::move(handlers)) {
  thread_ = std::thread([this] { loop(); });
}

GangLink::~GangLink() { close(std::chrono::milliseconds(0)); }

void GangLink::push(Outgoing outgoing, std::unique_lock<std::mutex>&) {
  outbox_bytes_ += size_of(*outgoing.message);
  outbox_.push_back(std::move(outgoing));
  changed_.notify_all();
}

void GangLink::tell(nlohmann::json header, comm::Bytes payload) {
  std::shared_ptr<const comm::ControlMessage> message;
  try {
    message = sendable(std::move(header), std::move(payload));
  } catch (const Error& error) {
    log_warning("{}", error.what());
    return;
  }
  std::unique_lock lock(mutex_);
  if (!client_ || lost_ || outbox_bytes_ > kOutboxBytesMax) return;
  push({"", std::move(message)}, lock);
}

void GangLink::deliver(const std::string& key, nlohmann::json header, comm::Bytes payload) {
  auto message = sendable(std::move(header), std::move(payload));
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return outbox_bytes_ <= kOutboxBytesMax || closing_; });
  if (closing_) fail(ErrorCode::kUnavailable, "the link to the coordinator is closed");
  push({key, std::move(message)}, lock);
}

void GangLink::acknowledged(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto found =
      std::find_if(outbox_.begin(), outbox_.end(), [&](const Outgoing& o) { return o.key == key; });
  if (found == outbox_.end()) return;
  outbox_bytes_ -= size_of(*found->message);
  outbox_.erase(found);
  changed_.notify_all();
}

void GangLink::forget() {
  const std::lock_guard lock(mutex_);
  outbox_.clear();
  outbox_bytes_ = 0;
  changed_.notify_all();
}

void GangLink::forget_unanswered() {
  const std::lock_guard lock(mutex_);
  for (const auto& outgoing : outbox_) {
    if (!outgoing.key.empty()) outbox_bytes_ -= size_of(*outgoing.message);
  }
  std::erase_if(outbox_, [](const Outgoing& o) { return !o.key.empty(); });
  changed_.notify_all();
}

bool GangLink::wait_delivered(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, [this] { return outbox_.empty() || closing_; });
}

void GangLink::close(std::chrono::milliseconds patience) {
  std::shared_ptr<comm::ControlClient> client;
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    client = client_;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
  if (client) client->close(patience);
  const std::lock_guard lock(mutex_);
  client_.reset();
}

// True when the link is up. Waits, and gives up for good, in loop().
bool GangLink::connect() {
  comm::ControlOptions control;
  control.token = options_.token;
  control.silence_limit = options_.silence_limit;
  control.heartbeat_interval = std::min(control.heartbeat_interval, options_.silence_limit / 3);
  comm::ControlClient::Handlers handlers;
  handlers.message = handlers_.message;
  handlers.lost = [this](const comm::ControlEnd& end) {
    log_warning("the link to the coordinator ended: {}", end.reason);
    const std::lock_guard lock(mutex_);
    lost_ = true;
    lost_reason_ = end.reason;
    changed_.notify_all();
  };
  auto client = std::make_shared<comm::ControlClient>(options_.host, options_.port, control,
                                                      handlers_.about(), std::move(handlers));
  const std::lock_guard lock(mutex_);
  client_ = std::move(client);
  was_connected_ = true;
  up_since_ = Clock::now();
  for (auto& outgoing : outbox_) outgoing.sent = false;
  return true;
}

// Called with the lock held. What is sent once leaves the outbox with this.
std::shared_ptr<const comm::ControlMessage> GangLink::next_unsent() {
  const auto found =
      std::find_if(outbox_.begin(), outbox_.end(), [](const Outgoing& o) { return !o.sent; });
  if (found == outbox_.end()) return nullptr;
  auto message = found->message;
  found->sent = true;
  if (found->key.empty()) {
    outbox_bytes_ -= size_of(*message);
    outbox_.erase(found);
  }
  return message;
}

void GangLink::loop() {
  std::unique_lock lock(mutex_);
  while (!closing_) {
    if (lost_) {
      auto old = std::move(client_);
      client_.reset();
      lost_ = false;
      down_since_ = Clock::now();
      const bool sent_away = down_since_ - up_since_ < kBriefLink;
      if (!sent_away) {
        sent_away_since_.reset();
      } else if (!sent_away_since_) {
        sent_away_since_ = down_since_;
      }
      const auto why = lost_reason_;
      lock.unlock();
      old.reset();
      if (sent_away && down_since_ - *sent_away_since_ > options_.lease) {
        handlers_.expired(why);
        return;
      }
      lock.lock();
      if (sent_away) changed_.wait_for(lock, kRetryInterval, [this] { return closing_; });
      if (closing_) break;
    }
    if (!client_) {
      lock.unlock();
      std::string why = "nobody answers";
      bool refused = false;
      try {
        connect();
      } catch (const Error& error) {
        why = error.what();
        refused = error.code() == ErrorCode::kInvalidArgument;
      } catch (const std::exception& error) {
        why = error.what();
      }
      lock.lock();
      if (client_) continue;
      const auto patience = was_connected_ ? options_.lease : options_.first_patience;
      if (refused || Clock::now() - down_since_ > patience) {
        lock.unlock();
        handlers_.expired(why);
        return;
      }
      changed_.wait_for(lock, kRetryInterval, [this] { return closing_; });
      continue;
    }
    if (const auto message = next_unsent()) {
      const auto client = client_;
      lock.unlock();
      try {
        client->send(*message);
      } catch (const Error&) {
        // The link is lost; what is kept goes out again with the next one.
      } catch (const std::exception& error) {
        log_error("a message to the coordinator was not sent: {}", error.what());
      }
      lock.lock();
      continue;
    }
    changed_.wait(lock, [this] {
      return closing_ || lost_ ||
             std::any_of(outbox_.begin(), outbox_.end(), [](const Outgoing& o) { return !o.sent; });
    });
  }
  // What was told last still goes out with the goodbye.
  while (client_ && !lost_) {
    const auto message = next_unsent();
    if (!message) break;
    const auto client = client_;
    lock.unlock();
    try {
      client->send(*message);
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): the link ends anyway
    }
    lock.lock();
  }
}

}  // namespace seamwright::worker
