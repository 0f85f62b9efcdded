#include "tests/unit/comm/fake_nccl.h"

#include <cstring>
#include <thread>

namespace seamwright::comm::conformance {
namespace {

constexpr int kPollsPerLaunch = 2;  // a nonblocking call is over after so many questions

struct FakeStream {
  ProgressQueue queue;
};

// As in CUDA: waiting for an event means its last recording before the wait.
struct FakeEvent {
  std::mutex mutex;
  std::condition_variable changed;
  std::uint64_t recorded = 0;
  std::uint64_t done = 0;
};

FakeStream& stream_of(Stream stream) { return *static_cast<FakeStream*>(stream.native); }

}  // namespace

struct FakeNcclWorld::Comm {
  int rank = 0;
  int polls_left = 0;  // > 0: in progress
  bool joining = true;
  bool finalizing = false;
  bool finalized = false;
  bool gone = false;  // destroyed or aborted
  std::string error;
  std::vector<Transfer> launching;
  Stream launch_stream;
};

class FakeNccl final : public NcclCalls {
 public:
  FakeNccl(std::shared_ptr<FakeNcclWorld> world, int rank)
      : world_(std::move(world)), rank_(rank) {}

  void bind_thread() override {}
  bool device_can_access(const void* bytes) const override {
    return !world_->reaches || world_->reaches(bytes);
  }
  Stream create_stream() override;
  void destroy_stream(Stream stream) override;
  Event create_event() override;
  void destroy_event(Event event) override;
  void record(Event event, Stream stream) override;
  void make_wait(Stream stream, Event event) override;
  NcclStatus query(Event event) override;
  Bytes make_unique_id() override { return Bytes(128, std::byte{42}); }
  NcclStatus init_rank(Comm& comm, int size, const Bytes& unique_id, int rank) override;
  NcclStatus status(Comm comm) override;
  NcclStatus group_start() override;
  NcclStatus group_end(Comm comm) override;
  NcclStatus send(std::span<const std::byte> bytes, int peer, Comm comm, Stream stream) override;
  NcclStatus recv(std::span<std::byte> bytes, int peer, Comm comm, Stream stream) override;
  NcclStatus finalize(Comm comm) override;
  void destroy(Comm comm) override;
  void abort(Comm comm) override;
  std::string last_error(Comm comm) override;

 private:
  NcclStatus add(FakeNcclWorld::Transfer transfer, Comm comm, Stream stream, const char* call);

  const std::shared_ptr<FakeNcclWorld> world_;
  const int rank_;
  bool group_open_ = false;
  std::thread::id group_thread_;
  std::vector<FakeNcclWorld::Transfer> group_;
  Stream group_stream_;
};

FakeNcclWorld::FakeNcclWorld(int size) : size_(size), matcher_(size, false) {}
FakeNcclWorld::~FakeNcclWorld() = default;

std::shared_ptr<NcclCalls> FakeNcclWorld::calls(int rank) {
  return std::make_shared<FakeNccl>(shared_from_this(), rank);
}

void FakeNcclWorld::inject_error(int rank, const std::string& text) {
  std::scoped_lock lock(mutex_);
  for (const auto& comm : comms_) {
    if (comm->rank == rank) comm->error = text;
  }
}

void FakeNcclWorld::fail_init(const std::string& text) {
  std::scoped_lock lock(mutex_);
  init_failure_ = text;
}

void FakeNcclWorld::hold(bool held) {
  {
    std::scoped_lock lock(mutex_);
    held_ = held;
  }
  changed_.notify_all();
}

bool FakeNcclWorld::was_aborted(int rank) {
  std::scoped_lock lock(mutex_);
  return aborted_.contains(rank);
}

std::int64_t FakeNcclWorld::transfers() {
  std::scoped_lock lock(mutex_);
  return transfers_;
}

std::vector<std::string> FakeNcclWorld::violations() {
  std::scoped_lock lock(mutex_);
  std::vector<std::string> all = violations_;
  if (!streams_.empty()) {
    all.push_back(fmt::format("{} streams were not destroyed", streams_.size()));
  }
  if (live_events_ != 0) all.push_back(fmt::format("{} events were not destroyed", live_events_));
  for (const auto& comm : comms_) {
    if (!comm->gone) all.push_back(fmt::format("rank {}'s communicator was not freed", comm->rank));
  }
  return all;
}

void FakeNcclWorld::violate(const std::string& rule) { violations_.push_back(rule); }

FakeNcclWorld::Comm* FakeNcclWorld::enter(void* handle, const char* call, bool while_in_progress) {
  auto* comm = static_cast<Comm*>(handle);
  if (comm == nullptr) {
    violate(fmt::format("{} without a communicator", call));
    return nullptr;
  }
  if (comm->gone) violate(fmt::format("{} on a communicator that was freed", call));
  if (comm->polls_left > 0 && !while_in_progress) {
    violate(fmt::format("{} while a nonblocking call is in progress", call));
  }
  if (comm->finalizing && !while_in_progress) violate(fmt::format("{} after finalize", call));
  return comm;
}

Stream FakeNccl::create_stream() {
  std::scoped_lock lock(world_->mutex_);
  return {*world_->streams_.insert(new FakeStream).first};
}

void FakeNccl::destroy_stream(Stream stream) {
  delete &stream_of(stream);  // runs what is queued
  std::scoped_lock lock(world_->mutex_);
  world_->streams_.erase(stream.native);
}

NcclCalls::Event FakeNccl::create_event() {
  std::scoped_lock lock(world_->mutex_);
  ++world_->live_events_;
  return new FakeEvent;
}

void FakeNccl::destroy_event(Event event) {
  delete static_cast<FakeEvent*>(event);
  std::scoped_lock lock(world_->mutex_);
  --world_->live_events_;
}

void FakeNccl::record(Event event, Stream stream) {
  auto* fake = static_cast<FakeEvent*>(event);
  std::uint64_t number = 0;
  {
    std::scoped_lock lock(fake->mutex);
    number = ++fake->recorded;
    // A stream of another double, which computes at once: what is on it is over.
    const std::scoped_lock world(world_->mutex_);
    if (!world_->streams_.contains(stream.native)) {
      fake->done = number;
      return;
    }
  }
  stream_of(stream).queue.push([fake, number] {
    std::scoped_lock lock(fake->mutex);
    fake->done = number;
    fake->changed.notify_all();
  });
}

void FakeNccl::make_wait(Stream stream, Event event) {
  auto* fake = static_cast<FakeEvent*>(event);
  std::uint64_t number = 0;
  {
    std::scoped_lock lock(fake->mutex);
    number = fake->recorded;
  }
  stream_of(stream).queue.push([fake, number] {
    std::unique_lock lock(fake->mutex);
    fake->changed.wait(lock, [&] { return fake->done >= number; });
  });
}

NcclStatus FakeNccl::query(Event event) {
  auto* fake = static_cast<FakeEvent*>(event);
  std::scoped_lock lock(fake->mutex);
  return fake->done >= fake->recorded ? NcclStatus::kSuccess : NcclStatus::kInProgress;
}

NcclStatus FakeNccl::init_rank(Comm& comm, int size, const Bytes& unique_id, int rank) {
  std::scoped_lock lock(world_->mutex_);
  if (size != world_->size_ || rank != rank_)
    world_->violate("init_rank with another rank or size");
  if (unique_id != make_unique_id()) world_->violate("init_rank with another id than rank 0's");
  auto made = std::make_unique<FakeNcclWorld::Comm>();
  made->rank = rank;
  made->polls_left = kPollsPerLaunch;
  made->error = world_->init_failure_;
  comm = made.get();
  world_->comms_.push_back(std::move(made));
  ++world_->joined_;
  return NcclStatus::kInProgress;
}

NcclStatus FakeNccl::status(Comm handle) {
  std::scoped_lock lock(world_->mutex_);
  FakeNcclWorld::Comm* comm = world_->enter(handle, "status", true);
  if (comm == nullptr || !comm->error.empty()) return NcclStatus::kError;
  if (comm->joining) {
    if (world_->joined_ < world_->size_) return NcclStatus::kInProgress;
    comm->joining = false;
  }
  if (comm->polls_left > 0) {
    if (--comm->polls_left > 0) return NcclStatus::kInProgress;
    // Only now is the work on the stream: an event recorded earlier would be too early.
    if (!comm->launching.empty()) {
      stream_of(comm->launch_stream)
          .queue.push([world = world_.get(), rank = rank_, group = std::move(comm->launching)] {
            world->run_group(rank, group);
          });
      comm->launching.clear();
    }
    if (comm->finalizing) comm->finalized = true;
  }
  return NcclStatus::kSuccess;
}

NcclStatus FakeNccl::group_start() {
  std::scoped_lock lock(world_->mutex_);
  if (group_open_) world_->violate("group_start inside a group");
  group_open_ = true;
  group_thread_ = std::this_thread::get_id();
  group_.clear();
  return NcclStatus::kSuccess;
}

NcclStatus FakeNccl::add(FakeNcclWorld::Transfer transfer, Comm handle, Stream stream,
                         const char* call) {
  std::scoped_lock lock(world_->mutex_);
  FakeNcclWorld::Comm* comm = world_->enter(handle, call, false);
  if (comm == nullptr) return NcclStatus::kError;
  if (!group_open_) world_->violate(fmt::format("{} outside a group", call));
  if (group_thread_ != std::this_thread::get_id()) world_->violate("a group over two threads");
  if (transfer.peer < 0 || transfer.peer >= world_->size_) world_->violate("no such peer");
  if (!group_.empty() && group_stream_.native != stream.native) {
    world_->violate("a group over two streams");
  }
  group_.push_back(transfer);
  group_stream_ = stream;
  return NcclStatus::kSuccess;
}

NcclStatus FakeNccl::send(std::span<const std::byte> bytes, int peer, Comm comm, Stream stream) {
  return add({true, peer, bytes, {}}, comm, stream, "send");
}

NcclStatus FakeNccl::recv(std::span<std::byte> bytes, int peer, Comm comm, Stream stream) {
  return add({false, peer, {}, bytes}, comm, stream, "recv");
}

NcclStatus FakeNccl::group_end(Comm handle) {
  std::scoped_lock lock(world_->mutex_);
  FakeNcclWorld::Comm* comm = world_->enter(handle, "group_end", false);
  if (!group_open_) world_->violate("group_end without group_start");
  if (group_thread_ != std::this_thread::get_id()) world_->violate("a group over two threads");
  group_open_ = false;
  if (comm == nullptr || group_.empty()) return NcclStatus::kSuccess;
  int to_self = 0;
  for (const auto& transfer : group_) {
    if (transfer.peer == rank_) to_self += transfer.is_send ? 1 : -1;
  }
  if (to_self != 0) world_->violate("a message to oneself without its other half in the group");
  comm->launching = std::move(group_);
  comm->launch_stream = group_stream_;
  comm->polls_left = kPollsPerLaunch;
  return NcclStatus::kInProgress;
}

NcclStatus FakeNccl::finalize(Comm handle) {
  std::scoped_lock lock(world_->mutex_);
  FakeNcclWorld::Comm* comm = world_->enter(handle, "finalize", false);
  if (comm == nullptr) return NcclStatus::kError;
  comm->finalizing = true;
  comm->polls_left = kPollsPerLaunch;
  return NcclStatus::kInProgress;
}

void FakeNccl::destroy(Comm handle) {
  std::scoped_lock lock(world_->mutex_);
  FakeNcclWorld::Comm* comm = world_->enter(handle, "destroy", true);
  if (comm == nullptr) return;
  if (!comm->finalized) world_->violate("destroy before finalize was over");
  comm->gone = true;
}

void FakeNccl::abort(Comm handle) {
  const Error error(ErrorCode::kUnavailable, "aborted");
  {
    std::scoped_lock lock(world_->mutex_);
    FakeNcclWorld::Comm* comm = world_->enter(handle, "abort", true);
    if (comm == nullptr) return;
    comm->gone = true;
    world_->aborted_.insert(comm->rank);
    for (const auto& [rank, operation] : world_->stuck_) {
      if (rank == rank_) operation->fail(error);
    }
  }
  world_->changed_.notify_all();
  for (const auto& operation : world_->matcher_.drop(rank_, error)) operation->fail(error);
}

std::string FakeNccl::last_error(Comm handle) {
  std::scoped_lock lock(world_->mutex_);
  const auto* comm = static_cast<FakeNcclWorld::Comm*>(handle);
  return comm != nullptr ? comm->error : "no communicator";
}

// On the stream's thread: returns when every transfer of the group is over, or the rank aborted.
void FakeNcclWorld::run_group(int rank, const std::vector<Transfer>& group) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !held_ || aborted_.contains(rank); });
    if (aborted_.contains(rank)) return;
    transfers_ += static_cast<std::int64_t>(group.size());
  }
  std::vector<std::shared_ptr<OperationState>> operations;
  LoopbackMatcher::Matches matches;
  for (const Transfer& transfer : group) {
    operations.push_back(std::make_shared<OperationState>(nullptr));
    std::optional<Error> refused;
    LoopbackMatcher::Matches found =
        transfer.is_send
            ? matcher_.add_send(rank, transfer.peer,
                                {operations.back(), borrow_buffer(transfer.source), nullptr},
                                refused)
            : matcher_.add_recv(transfer.peer, rank,
                                {operations.back(), borrow_buffer(transfer.target), nullptr},
                                refused);
    if (refused) operations.back()->fail(*refused);
    for (LoopbackMatch& match : found) matches.push_back(std::move(match));
  }
  copy(std::move(matches));
  for (const auto& operation : operations) {
    try {
      operation->wait();
    } catch (const Error&) {
      return;  // aborted
    }
  }
}

void FakeNcclWorld::copy(LoopbackMatcher::Matches matches) {
  for (LoopbackMatch& match : matches) {
    const auto source = match.send.bytes.bytes;
    const auto target = match.recv.bytes.bytes;
    if (source.size() != target.size()) {
      // The real library does not notice. Here it is an error, because it is a broken rule.
      const std::string text = fmt::format("sizes {} and {} of one message: their plans differ",
                                           source.size(), target.size());
      inject_error(match.from, text);
      inject_error(match.to, text);
      // Both kernels spin until their ranks abort.
      std::scoped_lock lock(mutex_);
      stuck_.emplace_back(match.from, match.send.operation);
      stuck_.emplace_back(match.to, match.recv.operation);
      continue;
    }
    std::memcpy(target.data(), source.data(), source.size());
    matcher_.finish(match);
    match.recv.operation->complete();
    match.send.operation->complete();
  }
}

void run_on_fake_stream(Stream stream, std::function<void()> work) {
  stream_of(stream).queue.push(std::move(work));
}

}  // namespace seamwright::comm::conformance
