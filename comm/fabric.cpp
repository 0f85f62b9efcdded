#include "comm/fabric.h"

#include <utility>

#include "comm/fabric_shared.h"
#include "comm/operation_state.h"
#include "comm/wire.h"

namespace seamwright::comm {

Fabric::Fabric(int rank, int size)
    : rank_(rank), size_(size), shared_(std::make_unique<Shared>(size)) {
  ensure(size >= 1 && rank >= 0 && rank < size, "rank {} of a gang of {}", rank, size);
}

Fabric::~Fabric() = default;

void Fabric::check_usable(int peer) const {
  ensure(peer >= 0 && peer < size_, "peer {} does not exist: this gang has ranks 0 to {}", peer,
         size_ - 1);
  std::scoped_lock lock(shared_->mutex);
  if (shared_->abort_error) throw Error(*shared_->abort_error);
  ensure(!shared_->closed, "the fabric is closed: start operations before close()");
}

Operation Fabric::send(int peer, ConstBuffer bytes, Stream stream) {
  check_usable(peer);
  {
    std::scoped_lock lock(shared_->mutex);
    PeerTraffic& count = shared_->traffic[static_cast<std::size_t>(peer)];
    count.bytes_sent += bytes.bytes.size();
    ++count.messages_sent;
  }
  auto state = std::make_shared<OperationState>(bytes.owner);
  start_send(peer, state, std::move(bytes), stream);
  return Operation(std::move(state));
}

Operation Fabric::recv(int peer, Buffer bytes, Stream stream) {
  check_usable(peer);
  {
    std::scoped_lock lock(shared_->mutex);
    PeerTraffic& count = shared_->traffic[static_cast<std::size_t>(peer)];
    count.bytes_received += bytes.bytes.size();
    ++count.messages_received;
  }
  auto state = std::make_shared<OperationState>(bytes.owner);
  start_recv(peer, state, std::move(bytes), stream);
  return Operation(std::move(state));
}

void Fabric::begin_group() {
  check_usable(rank_);
  ensure(!shared_->group_open, "groups do not nest: end the open group first");
  shared_->group_open = true;
  start_group();
}

void Fabric::end_group() {
  ensure(shared_->group_open, "no group is open");
  shared_->group_open = false;
  finish_group();
}

Operation Fabric::post(int peer, Bytes mail) {
  check_usable(peer);
  auto framed = std::make_shared<const Bytes>(wire::encode(wire::Kind::kUser, 0, mail));
  count_mail(peer, framed->size());
  auto state = std::make_shared<OperationState>(framed);
  start_post(peer, state, framed);
  return Operation(std::move(state));
}

void Fabric::post_kind(int peer, wire::Kind kind, std::uint64_t tag,
                       std::span<const std::byte> body) {
  auto framed = std::make_shared<const Bytes>(wire::encode(kind, tag, body));
  count_mail(peer, framed->size());
  start_post(peer, std::make_shared<OperationState>(framed), framed);
}

void Fabric::count_mail(int peer, std::size_t bytes) {
  std::scoped_lock lock(shared_->mutex);
  PeerTraffic& count = shared_->traffic[static_cast<std::size_t>(peer)];
  count.mail_bytes_sent += bytes;
  ++count.mail_messages_sent;
}

void Fabric::set_mail_handler(MailHandler handler) {
  std::scoped_lock lock(shared_->mail_mutex);
  shared_->handler = std::move(handler);
  if (!shared_->handler) return;
  while (!shared_->waiting_mail.empty()) {
    auto [from, mail] = std::move(shared_->waiting_mail.front());
    shared_->waiting_mail.pop_front();
    shared_->handler(from, std::move(mail));
  }
}

void Fabric::deliver_mail(int from, Bytes bytes) {
  std::optional<wire::Mail> mail = wire::decode(std::move(bytes));
  if (!mail) {
    report_failure(fmt::format("rank {} sent mail that this program does not understand", from));
    return;
  }
  switch (mail->kind) {
    case wire::Kind::kUser: {
      std::scoped_lock lock(shared_->mail_mutex);
      if (shared_->handler) {
        shared_->handler(from, std::move(mail->body));
      } else {
        shared_->waiting_mail.emplace_back(from, std::move(mail->body));
      }
      return;
    }
    case wire::Kind::kCollective: {
      {
        std::scoped_lock lock(shared_->mutex);
        shared_->collective_mail[static_cast<std::size_t>(from)].push_back(std::move(*mail));
      }
      shared_->collective_arrived.notify_all();
      return;
    }
    case wire::Kind::kAbort:
      abort_with(wire::to_text(mail->body), false);
      return;
    case wire::Kind::kHeartbeat:
    case wire::Kind::kBye:
      return;
  }
}

void Fabric::abort(const std::string& reason) {
  abort_with(fmt::format("the gang was aborted by rank {}: {}", rank_, reason), true);
}

void Fabric::report_lost(int peer, const std::string& how) {
  abort_with(fmt::format("rank {} was lost ({}), as seen by rank {}", peer, how, rank_), true);
}

void Fabric::report_failure(const std::string& what) {
  abort_with(fmt::format("communication failed on rank {}: {}", rank_, what), true);
}

void Fabric::abort_with(const std::string& message, bool tell_others) {
  std::vector<std::function<void(const Error&)>> callbacks;
  Error error(ErrorCode::kUnavailable, message, std::source_location::current(), true);
  {
    std::scoped_lock lock(shared_->mutex);
    // After an orderly close everybody has what they need; a peer that is gone is no news.
    if (shared_->abort_error || shared_->closed) return;
    shared_->abort_error = error;
    callbacks = std::move(shared_->abort_callbacks);
  }
  if (tell_others) {
    for (int peer = 0; peer < size_; ++peer) {
      if (peer != rank_) post_kind(peer, wire::Kind::kAbort, 0, wire::from_text(message));
    }
  }
  fail_outstanding(error);
  shared_->collective_arrived.notify_all();
  for (const auto& callback : callbacks) callback(error);
}

std::optional<Error> Fabric::aborted() const {
  std::scoped_lock lock(shared_->mutex);
  return shared_->abort_error;
}

void Fabric::on_abort(std::function<void(const Error&)> callback) {
  std::optional<Error> error;
  {
    std::scoped_lock lock(shared_->mutex);
    error = shared_->abort_error;
    if (!error) shared_->abort_callbacks.push_back(callback);
  }
  if (error) callback(*error);
}

void Fabric::close() {
  barrier();
  {
    std::scoped_lock lock(shared_->mutex);
    shared_->closed = true;
  }
  finish_close();
}

bool Fabric::closed() const {
  std::scoped_lock lock(shared_->mutex);
  return shared_->closed;
}

std::vector<PeerTraffic> Fabric::traffic() const {
  std::scoped_lock lock(shared_->mutex);
  return shared_->traffic;
}

Group::~Group() {
  // The transport must see the end even when an exception passes, or it would hold back everything
  // after it; an abort meanwhile is reported by the operations themselves.
  try {
    end();
  } catch (const Error&) {
  }
}

void Group::end() {
  if (Fabric* fabric = std::exchange(fabric_, nullptr)) fabric->end_group();
}

}  // namespace seamwright::comm
