#include "comm/nccl/nccl_fabric.h"

#include <cstring>
#include <thread>
#include <utility>

#include "comm/nccl/nccl_engine.h"

namespace seamwright::comm {
namespace {

// Nonblocking, so that a rank that never comes ends in an error here instead of a hang.
NcclCalls::Comm join(Fabric& control, NcclCalls& calls, const NcclOptions& options) {
  Bytes unique_id = control.rank() == 0 ? calls.make_unique_id() : Bytes{};
  control.broadcast(0, unique_id);
  NcclCalls::Comm comm = nullptr;
  NcclStatus status = calls.init_rank(comm, control.size(), unique_id, control.rank());
  const auto deadline = std::chrono::steady_clock::now() + options.join_limit;
  bool late = false;
  while (status == NcclStatus::kInProgress && !late && !control.aborted()) {
    std::this_thread::sleep_for(std::chrono::microseconds(200));
    status = calls.status(comm);
    late = std::chrono::steady_clock::now() > deadline;
  }
  if (status == NcclStatus::kSuccess) return comm;
  std::string why = "another rank gave up";
  if (status == NcclStatus::kError) why = calls.last_error(comm);
  if (late) why = "not every rank joined in time";
  if (comm != nullptr) calls.abort(comm);
  const std::string message = fmt::format("NCCL cannot connect the ranks: {}", why);
  control.abort(message);
  throw Error(ErrorCode::kUnavailable, message);
}

class NcclFabric final : public Fabric {
 public:
  // The host fabric may outlive this one and still hold its callbacks.
  class Gate {
   public:
    explicit Gate(NcclFabric* fabric) : fabric_(fabric) {}
    template <class Call>
    void pass(Call&& call) {
      std::scoped_lock lock(mutex_);
      if (fabric_ != nullptr) call(*fabric_);
    }
    void shut() {
      std::scoped_lock lock(mutex_);
      fabric_ = nullptr;
    }

   private:
    std::mutex mutex_;
    NcclFabric* fabric_;
  };

  NcclFabric(std::shared_ptr<Fabric> control, std::shared_ptr<NcclCalls> calls,
             const NcclOptions& options)
      : Fabric(control->rank(), control->size()),
        control_(std::move(control)),
        calls_(std::move(calls)),
        engine_(std::make_unique<NcclEngine>(
            rank(), size(), calls_, join(*control_, *calls_, options), options,
            [this](const std::string& what) { report_failure(what); })) {
    // Callbacks and mail share one thread, as the interface promises.
    control_->set_mail_handler([gate = gate_](int from, Bytes mail) {
      auto shared = std::make_shared<Bytes>(std::move(mail));
      gate->pass([&](NcclFabric& self) {
        self.engine_->run_soon([&self, from, shared] { self.take_mail(from, std::move(*shared)); });
      });
    });
    control_->on_abort([gate = gate_](const Error& error) {
      gate->pass([&](NcclFabric& self) {
        self.engine_->run_soon(
            [&self, why = std::string(error.what())] { self.report_failure(why); });
      });
    });
  }

  ~NcclFabric() override {
    if (!closed()) abort("it left without closing the fabric");
    gate_->shut();
    engine_->stop();  // its jobs still use this object
  }

  bool carries_device_memory() const override { return true; }

 protected:
  void start_send(int peer, State operation, ConstBuffer bytes, Stream stream) override {
    if (!on_device(bytes.bytes)) {
      return over_host(operation, [&] { return control_->send(peer, std::move(bytes)); });
    }
    std::shared_ptr<void> ready = engine_->mark(stream);
    add({true, peer, std::move(operation), std::move(bytes), {}, std::move(ready)});
  }
  void start_recv(int peer, State operation, Buffer bytes, Stream stream) override {
    if (!on_device(bytes.bytes)) {
      return over_host(operation, [&] { return control_->recv(peer, std::move(bytes)); });
    }
    std::shared_ptr<void> ready = engine_->mark(stream);
    add({false, peer, std::move(operation), {}, std::move(bytes), std::move(ready)});
  }
  void start_group() override {
    group_.emplace();
    try {
      control_->begin_group();
      host_group_ = true;
    } catch (const Error&) {  // aborted: what is started now fails by itself
    }
  }
  void finish_group() override {
    if (std::exchange(host_group_, false)) control_->end_group();
    NcclBatch batch = std::move(*group_);
    group_.reset();
    if (!batch.items.empty()) submit(std::move(batch));
  }
  void start_post(int peer, State operation, std::shared_ptr<const Bytes> mail) override {
    try {
      Bytes marked = *mail;
      marked.push_back(kMail);
      control_->post(peer, std::move(marked)).on_complete([operation](const Error* error) {
        if (error != nullptr) {
          operation->fail(*error);
        } else {
          operation->complete();
        }
      });
    } catch (const Error& error) {
      operation->fail(error);
    }
  }
  void fail_outstanding(const Error& error) override {
    control_->abort(error.what());
    engine_->fail_all(error);
  }
  void finish_close() override {
    engine_->finish();
    control_->close();
  }

 private:
  bool on_device(std::span<const std::byte> bytes) const {
    return bytes.empty() || calls_->device_can_access(bytes.data());
  }
  // A message of the host fabric; its end comes on this fabric's thread, like all others'.
  template <class Start>
  void over_host(const State& operation, const Start& start) {
    try {
      start().on_complete([gate = gate_, operation](const Error* error) {
        const auto end = [operation, failure = error != nullptr ? std::optional(*error)
                                                                : std::optional<Error>()] {
          if (failure) {
            operation->fail(*failure);
          } else {
            operation->complete();
          }
        };
        bool passed = false;
        gate->pass([&](NcclFabric& self) {
          self.engine_->run_soon(end);
          passed = true;
        });
        if (!passed) end();
      });
    } catch (const Error& error) {
      operation->fail(error);
    }
  }
  void add(NcclItem item) {
    if (group_) {
      group_->items.push_back(std::move(item));
      return;
    }
    NcclBatch single;
    single.items.push_back(std::move(item));
    submit(std::move(single));
  }
  // Tells the other end of each message that this one is there.
  void submit(NcclBatch batch) {
    std::vector<NcclPosted> posted(static_cast<std::size_t>(size()));
    for (const NcclItem& item : batch.items) {
      NcclPosted& to_peer = posted[static_cast<std::size_t>(item.peer)];
      ++(item.is_send ? to_peer.sends : to_peer.receives);
    }
    engine_->submit(std::move(batch));
    for (int peer = 0; peer < size(); ++peer) {
      const NcclPosted& more = posted[static_cast<std::size_t>(peer)];
      if (peer == rank() || (more.sends == 0 && more.receives == 0)) continue;
      Bytes note(sizeof more);
      std::memcpy(note.data(), &more, sizeof more);
      note.push_back(kPosted);
      try {
        control_->post(peer, std::move(note));
      } catch (const Error&) {  // aborted: the batch fails by itself
      }
    }
  }
  // The last byte of what the host fabric brings says whether it is this fabric's own.
  void take_mail(int from, Bytes mail) {
    const std::byte kind = mail.empty() ? std::byte{0xFF} : mail.back();
    if (!mail.empty()) mail.pop_back();
    if (kind == kMail) {
      deliver_mail(from, std::move(mail));
    } else if (kind == kPosted && mail.size() == sizeof(NcclPosted)) {
      NcclPosted more;
      std::memcpy(&more, mail.data(), sizeof more);
      engine_->peer_posted(from, more);
    } else {
      report_failure(fmt::format("rank {} sent what no NCCL fabric sends", from));
    }
  }

  static constexpr std::byte kMail{0}, kPosted{1};

  const std::shared_ptr<Gate> gate_ = std::make_shared<Gate>(this);
  std::shared_ptr<Fabric> control_;
  std::shared_ptr<NcclCalls> calls_;
  std::unique_ptr<NcclEngine> engine_;
  std::optional<NcclBatch> group_;  // these two: only the thread that starts operations
  bool host_group_ = false;
};

}  // namespace

std::unique_ptr<Fabric> connect_nccl(std::shared_ptr<Fabric> control,
                                     std::shared_ptr<NcclCalls> calls, const NcclOptions& options) {
  calls->bind_thread();
  return std::make_unique<NcclFabric>(std::move(control), std::move(calls), options);
}

}  // namespace seamwright::comm
