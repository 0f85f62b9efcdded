// How the ranks of a gang exchange bytes: ordered messages, unsolicited mail, collectives, abort.
// Threads: send, receive and group calls come from one thread at a time, and so do collectives;
// post, abort and the getters from any thread. Callbacks and mail handlers run on the fabric's
// progress thread, one at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "comm/buffer.h"
#include "comm/operation.h"

namespace seamwright::comm {

namespace wire {
enum class Kind : std::uint8_t;
}

enum class Reduction { kSum, kMax };

// What went to and came from one peer, counted when an operation is started.
struct PeerTraffic {
  std::uint64_t bytes_sent = 0;
  std::uint64_t messages_sent = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t messages_received = 0;
  // Mail, collectives and heartbeats: beside the plan, so counted apart.
  std::uint64_t mail_bytes_sent = 0;
  std::uint64_t mail_messages_sent = 0;
};

class Fabric {
 public:
  using MailHandler = std::function<void(int from, Bytes mail)>;

  virtual ~Fabric();
  Fabric(const Fabric&) = delete;
  Fabric& operator=(const Fabric&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }

  // Messages. Every rank starts its own sends and receives in one global order that all ranks
  // share; they are matched per peer in that order, without tags, and sizes must agree. A
  // transport may run them strictly one after the other, so any other order can deadlock. The
  // operation keeps the buffer alive. `stream` orders device buffers (see Stream).
  Operation send(int peer, ConstBuffer bytes, Stream stream = {});
  Operation recv(int peer, Buffer bytes, Stream stream = {});

  // Whether messages may lie in the memory of a GPU. Both ends of one lie in the same kind of
  // memory.
  virtual bool carries_device_memory() const { return false; }

  // Operations started between the two run as if at once, in any order among themselves (a swap of
  // buffers between two ranks, a message to oneself). Groups do not nest.
  void begin_group();
  void end_group();

  // Mail. Bytes for another rank (or this one) at any time, outside the message order: heartbeats,
  // progress, finished frames. Ordered per sender; buffered at the receiver without limit, so
  // senders of much keep to a credit of their own. Mail that arrives before a handler is set waits.
  Operation post(int peer, Bytes mail);
  void set_mail_handler(MailHandler handler);

  // Collectives block until every rank has made the same call; sums are taken in rank order, so
  // every rank sees the same bits. For set-up and agreement, not for bulk data.
  void broadcast(int root, Bytes& bytes);
  std::vector<double> all_reduce(std::span<const double> values, Reduction reduction);
  std::vector<Bytes> all_gather(std::span<const std::byte> bytes);
  void barrier();

  // Ends all work on all ranks: every operation and every blocked caller, here and elsewhere, gets
  // Error(kUnavailable) with the reason, and the fabric refuses any further use. First call wins.
  void abort(const std::string& reason);
  std::optional<Error> aborted() const;
  // Runs once when the fabric is aborted, on any thread; at once if it is already.
  void on_abort(std::function<void(const Error&)> callback);

  // The orderly end: a barrier, after which the fabric refuses further use. A fabric destroyed
  // without it leaves its peers waiting, so transports abort them.
  void close();
  bool closed() const;

  std::vector<PeerTraffic> traffic() const;

 protected:
  using State = std::shared_ptr<OperationState>;
  Fabric(int rank, int size);

  // What a transport supplies; arguments are checked. start_* must fail the operation, not throw,
  // if the transport is aborted meanwhile.
  virtual void start_send(int peer, State operation, ConstBuffer bytes, Stream stream) = 0;
  virtual void start_recv(int peer, State operation, Buffer bytes, Stream stream) = 0;
  virtual void start_group() {}
  virtual void finish_group() {}
  virtual void start_post(int peer, State operation, std::shared_ptr<const Bytes> mail) = 0;
  // Fails every outstanding operation with `error`. Called once.
  virtual void fail_outstanding(const Error& error) = 0;
  // Called once after the barrier of close().
  virtual void finish_close() {}

  // What a transport reports, on its progress thread.
  void deliver_mail(int from, Bytes mail);
  void report_lost(int peer, const std::string& how);
  // A broken transport: aborts the gang.
  void report_failure(const std::string& what);

 private:
  struct Shared;
  void check_usable(int peer) const;
  void abort_with(const std::string& message, bool tell_others);
  void count_mail(int peer, std::size_t bytes);
  void post_kind(int peer, wire::Kind kind, std::uint64_t tag, std::span<const std::byte> body);
  void post_collective(int peer, std::uint64_t tag, std::span<const std::byte> body);
  Bytes take_collective(int from, std::uint64_t tag);
  std::vector<Bytes> gather_at_zero(std::uint64_t tag, std::span<const std::byte> bytes);
  Bytes send_from_root(int root, std::uint64_t tag, Bytes bytes);
  [[noreturn]] void disagree(const std::string& how);

  const int rank_;
  const int size_;
  const std::unique_ptr<Shared> shared_;
};

// A group as a scope: starts in the constructor; end() (or the destructor) closes it.
class Group {
 public:
  explicit Group(Fabric& fabric) : fabric_(&fabric) { fabric.begin_group(); }
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  void end();

 private:
  Fabric* fabric_;
};

}  // namespace seamwright::comm
