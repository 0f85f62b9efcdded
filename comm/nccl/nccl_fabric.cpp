#include "comm/nccl/nccl_fabric.h"

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
            calls_, join(*control_, *calls_, options), options,
            [this](const std::string& what) { report_failure(what); })) {
    // Callbacks and mail share one thread, as the interface promises.
    control_->set_mail_handler([gate = gate_](int from, Bytes mail) {
      auto shared = std::make_shared<Bytes>(std::move(mail));
      gate->pass([&](NcclFabric& self) {
        self.engine_->run_soon(
            [&self, from, shared] { self.deliver_mail(from, std::move(*shared)); });
      });
    });
    control_->on_abort([gate = gate_](const Error& error) {
      gate->pass([&](NcclFabric& self) {
        self.engine_->run_soon([&self, why = std::string(error.what())] {
          self.report_failure(why);
        });
      });
    });
  }

  ~NcclFabric() override {
    if (!closed()) abort("it left without closing the fabric");
    gate_->shut();
    engine_->stop();  // its jobs still use this object
  }

 protected:
  void start_send(int peer, State operation, ConstBuffer bytes, Stream stream) override {
    check_reachable(bytes.bytes);
    std::shared_ptr<void> ready = engine_->mark(stream);
    add({true, peer, std::move(operation), std::move(bytes), {}, std::move(ready)});
  }
  void start_recv(int peer, State operation, Buffer bytes, Stream stream) override {
    check_reachable(bytes.bytes);
    std::shared_ptr<void> ready = engine_->mark(stream);
    add({false, peer, std::move(operation), {}, std::move(bytes), std::move(ready)});
  }
  void start_group() override { group_.emplace(); }
  void finish_group() override {
    NcclBatch batch = std::move(*group_);
    group_.reset();
    if (!batch.items.empty()) engine_->submit(std::move(batch));
  }
  void start_post(int peer, State operation, std::shared_ptr<const Bytes> mail) override {
    try {
      control_->post(peer, Bytes(*mail)).on_complete([operation](const Error* error) {
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
  void check_reachable(std::span<const std::byte> bytes) const {
    require(bytes.empty() || calls_->device_can_access(bytes.data()),
            "NCCL moves device memory, and this buffer lies where the device cannot reach it: copy it "
            "to the device, or send it as mail");
  }
  void add(NcclItem item) {
    if (group_) {
      group_->items.push_back(std::move(item));
      return;
    }
    NcclBatch single;
    single.items.push_back(std::move(item));
    engine_->submit(std::move(single));
  }

  const std::shared_ptr<Gate> gate_ = std::make_shared<Gate>(this);
  std::shared_ptr<Fabric> control_;
  std::shared_ptr<NcclCalls> calls_;
  std::unique_ptr<NcclEngine> engine_;
  std::optional<NcclBatch> group_;  // only the thread that starts operations
};

}  // namespace

std::unique_ptr<Fabric> connect_nccl(std::shared_ptr<Fabric> control,
                                     std::shared_ptr<NcclCalls> calls,
                                     const NcclOptions& options) {
  calls->bind_thread();
  return std::make_unique<NcclFabric>(std::move(control), std::move(calls), options);
}

}  // namespace seamwright::comm
