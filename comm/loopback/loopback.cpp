#include "comm/loopback/loopback.h"

#include <cstring>
#include <utility>
#include <vector>

#include "comm/loopback/matcher.h"
#include "comm/operation_state.h"
#include "comm/progress_queue.h"

namespace seamwright::comm {

// Private to this file.
class LoopbackFabric;
using Peers = std::vector<std::unique_ptr<LoopbackFabric>>;

class LoopbackFabric final : public Fabric {
 public:
  LoopbackFabric(int rank, int size, const LoopbackOptions& options, LoopbackMatcher& matcher,
                 Peers& peers)
      : Fabric(rank, size),
        options_(options),
        matcher_(matcher),
        peers_(peers),
        progress_(options.spin) {}

  void stop() { progress_.stop(); }
  // The gang is going away, or this rank is.
  void give_up(const Error& error) { fail_outstanding(error); }
  void fall_silent() { silent_.store(true); }
  void find_lost(int peer) {
    progress_.push([this, peer] { report_lost(peer, "its process is gone"); });
  }

 protected:
  void start_send(int peer, State operation, ConstBuffer bytes, Stream /*host memory*/) override;
  void start_recv(int peer, State operation, Buffer bytes, Stream /*host memory*/) override;
  void start_group() override { matcher_.begin_batch(rank()); }
  void finish_group() override { hand_out(matcher_.end_batch(rank())); }
  void start_post(int peer, State operation, std::shared_ptr<const Bytes> mail) override;
  void fail_outstanding(const Error& error) override;

 private:
  LoopbackFabric& peer(int rank) { return *peers_[static_cast<std::size_t>(rank)]; }
  void hand_out(LoopbackMatcher::Matches matches);
  void copy(LoopbackMatch& match);

  const LoopbackOptions options_;
  LoopbackMatcher& matcher_;
  Peers& peers_;
  std::atomic<bool> silent_{false};
  ProgressQueue progress_;
};

void LoopbackFabric::start_send(int to, State operation, ConstBuffer bytes, Stream) {
  LoopbackSend send{operation, std::move(bytes), nullptr};
  const bool eager = !options_.rendezvous && send.bytes.bytes.size() <= options_.eager_bytes;
  if (eager) {
    const Buffer copy = allocate_buffer(send.bytes.bytes.size());
    if (!copy.bytes.empty()) {
      std::memcpy(copy.bytes.data(), send.bytes.bytes.data(), copy.bytes.size());
    }
    // The caller's operation is over; a fresh one stands for the copy on its way.
    send = {std::make_shared<OperationState>(copy.owner), copy, nullptr};
  }
  std::optional<Error> refused;
  LoopbackMatcher::Matches matches = matcher_.add_send(rank(), to, std::move(send), refused);
  if (refused) {
    operation->fail(*refused);
  } else if (eager) {
    operation->complete();
  }
  hand_out(std::move(matches));
}

void LoopbackFabric::start_recv(int from, State operation, Buffer bytes, Stream) {
  std::optional<Error> refused;
  LoopbackMatcher::Matches matches =
      matcher_.add_recv(from, rank(), {operation, std::move(bytes), nullptr}, refused);
  if (refused) operation->fail(*refused);
  hand_out(std::move(matches));
}

// The receiver's progress thread copies, so that neither rank's compute thread pays for it.
void LoopbackFabric::hand_out(LoopbackMatcher::Matches matches) {
  for (LoopbackMatch& match : matches) {
    LoopbackFabric& receiver = peer(match.to);
    receiver.progress_.push(
        [&receiver, match = std::move(match)]() mutable { receiver.copy(match); });
  }
}

void LoopbackFabric::copy(LoopbackMatch& match) {
  const std::span<const std::byte> source = match.send.bytes.bytes;
  const std::span<std::byte> target = match.recv.bytes.bytes;
  LoopbackFabric& sender = peer(match.from);
  if (source.size() != target.size()) {
    const std::string what =
        fmt::format("rank {} sent {} bytes where rank {} expected {}: their plans differ",
                    match.from, source.size(), match.to, target.size());
    const Error error(ErrorCode::kInternal, what);
    match.recv.operation->fail(error);
    sender.progress_.push([send = match.send.operation, error] { send->fail(error); });
    report_failure(what);
    return;
  }
  if (!source.empty()) std::memcpy(target.data(), source.data(), source.size());
  match.send.bytes = {};
  match.recv.bytes = {};
  LoopbackMatcher::Matches next = matcher_.finish(match);
  match.recv.operation->complete();
  if (&sender == this) {
    match.send.operation->complete();
  } else {
    sender.progress_.push([send = std::move(match.send.operation)] { send->complete(); });
  }
  hand_out(std::move(next));
}

void LoopbackFabric::start_post(int to, State operation, std::shared_ptr<const Bytes> mail) {
  LoopbackFabric& receiver = peer(to);
  if (!silent_.load() && !receiver.silent_.load()) {
    receiver.progress_.push(
        [&receiver, from = rank(), mail] { receiver.deliver_mail(from, *mail); });
  }
  operation->complete();  // buffered
}

void LoopbackFabric::fail_outstanding(const Error& error) {
  // Refused from this moment on; those waiting fail on the progress thread, where callbacks run.
  LoopbackMatcher::Operations operations = matcher_.drop(rank(), error);
  progress_.push([operations = std::move(operations), error] {
    for (const auto& operation : operations) operation->fail(error);
  });
}

struct LoopbackGang::Gang {
  Gang(int size, const LoopbackOptions& options) : matcher(size, options.rendezvous) {
    for (int rank = 0; rank < size; ++rank) {
      fabrics.push_back(std::make_unique<LoopbackFabric>(rank, size, options, matcher, fabrics));
    }
  }

  LoopbackMatcher matcher;
  Peers fabrics;
};

LoopbackGang::LoopbackGang(int size, const LoopbackOptions& options)
    : gang_(std::make_unique<Gang>(size, options)) {}

LoopbackGang::~LoopbackGang() {
  const Error error(ErrorCode::kUnavailable, "the loopback gang has ended");
  for (const auto& fabric : gang_->fabrics) fabric->give_up(error);
  // Threads refer to one another's fabrics, so all of them end before the first is destroyed.
  for (const auto& fabric : gang_->fabrics) fabric->stop();
}

int LoopbackGang::size() const { return static_cast<int>(gang_->fabrics.size()); }

Fabric& LoopbackGang::fabric(int rank) {
  ensure(rank >= 0 && rank < size(), "rank {} of a gang of {}", rank, size());
  return *gang_->fabrics[static_cast<std::size_t>(rank)];
}

void LoopbackGang::lose(int rank) {
  ensure(rank >= 0 && rank < size(), "rank {} of a gang of {}", rank, size());
  gang_->fabrics[static_cast<std::size_t>(rank)]->fall_silent();
  for (const auto& fabric : gang_->fabrics) fabric->find_lost(rank);
}

}  // namespace seamwright::comm
