#include "comm/mpi/mpi_engine.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <utility>

#include "base/log.h"
#include "comm/wire.h"

namespace seamwright::comm {

using std::chrono::microseconds;
using std::chrono::nanoseconds;

std::chrono::nanoseconds PollPolicy::nap_after(nanoseconds idle, bool quiet) const {
  if (idle < hot) return nanoseconds::zero();
  return std::clamp<nanoseconds>(idle / 4, microseconds(5), quiet ? quiet_nap : longest_nap);
}

PollPolicy choose_poll_policy(const MpiOptions& options, int ranks, int local_ranks, int cores) {
  // A rank has a compute thread and this one. While each has a core, polling costs nobody anything.
  // Where they share, a poll costs somebody a few microseconds, so the naps of all ranks together
  // are kept long enough to take at most a few per cent of the host.
  const bool unshared = 2 * local_ranks <= cores;
  PollPolicy policy;
  policy.hot = unshared ? microseconds(200) : microseconds(10);
  policy.longest_nap =
      unshared ? microseconds(50) : microseconds(200) * std::max(1, local_ranks / cores);
  if (options.hot_poll.count() >= 0) policy.hot = options.hot_poll;
  if (options.longest_nap.count() >= 0) policy.longest_nap = options.longest_nap;
  policy.longest_nap = std::max<nanoseconds>(policy.longest_nap, microseconds(5));
  // Whoever rings is heard at once; the nap is then only a safety net.
  policy.quiet_nap = ranks == local_ranks
                         ? std::max<nanoseconds>(policy.longest_nap, std::chrono::milliseconds(2))
                         : policy.longest_nap;
  return policy;
}

MpiEngine::MpiEngine(const MpiOptions& options) : options_(options) {
  std::promise<MpiWorld> started;
  std::future<MpiWorld> world = started.get_future();
  thread_ = std::thread([this, &started] { run(started); });
  try {
    world_ = world.get();
  } catch (...) {
    thread_.join();
    throw;
  }
}

MpiEngine::~MpiEngine() { finish(false); }

void MpiEngine::activate(MpiSink sink) {
  {
    std::scoped_lock lock(mutex_);
    sink_ = std::move(sink);
    active_ = true;
  }
  bells_.ring_own();
}

void MpiEngine::submit(Flight flight) {
  std::optional<Error> failure;
  {
    std::scoped_lock lock(mutex_);
    failure = failure_;
    if (!failure) submitted_.push_back(std::move(flight));
  }
  if (failure) {
    flight.operation->fail(*failure);
  } else {
    bells_.ring_own();
  }
}

void MpiEngine::send(int peer, std::shared_ptr<OperationState> operation, ConstBuffer bytes) {
  submit({Kind::kSend, peer, std::move(operation), std::move(bytes), {}, nullptr});
}

void MpiEngine::recv(int peer, std::shared_ptr<OperationState> operation, Buffer bytes) {
  submit({Kind::kRecv, peer, std::move(operation), {}, std::move(bytes), nullptr});
}

void MpiEngine::post(int peer, std::shared_ptr<OperationState> operation,
                     std::shared_ptr<const Bytes> mail) {
  const std::span<const std::byte> bytes(*mail);
  submit({Kind::kMailOut, peer, std::move(operation), {std::move(mail), bytes}, {}, nullptr});
}

void MpiEngine::fail_all(const Error& error) {
  {
    std::scoped_lock lock(mutex_);
    if (failure_) return;
    failure_ = error;
    failure_is_new_ = true;
  }
  bells_.ring_own();
}

void MpiEngine::finish(bool orderly) {
  {
    std::scoped_lock lock(mutex_);
    if (!finish_requested_) finish_requested_ = orderly;
  }
  bells_.ring_own();
  if (thread_.joinable()) thread_.join();
}

void MpiEngine::run(std::promise<MpiWorld>& started) {
  // Naps of tens of microseconds; the default slack of 50 would double them.
  prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
  try {
    start_mpi();
  } catch (...) {
    started.set_exception(std::current_exception());
    return;
  }
  policy_ = choose_poll_policy(options_, world_.size, world_.local_size,
                               static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)));
  started.set_value(world_);
  const auto may_start = [this] {
    std::scoped_lock lock(mutex_);
    return active_ || finish_requested_;
  };
  for (std::uint32_t seen = bells_.own_rings(); !may_start(); seen = bells_.own_rings()) {
    bells_.wait(seen, std::chrono::seconds(1));
  }
  loop();
  stop_mpi();
}

void MpiEngine::start_mpi() {
  int initialized = 0;
  MPI_Initialized(&initialized);
  require(
      initialized == 0,
      "MPI was already started in this process and cannot be started again: keep one fabric for "
      "the life of the process");
  // Open MPI yields inside every call where ranks outnumber cores. We nap instead, and a yield
  // costs each poll a context switch.
  setenv("OMPI_MCA_mpi_yield_when_idle", "0", 0);
  int provided = 0;
  // This thread is MPI's main thread and the only one that calls it, whatever else runs.
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  MpiWorld world;
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &world.rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &world.size), "MPI_Comm_size");
  bells_.open();
  world.local_size = bells_.local_ranks();
  world_ = world;
  messages_ = MpiChannel(MPI_COMM_WORLD);
  mail_ = MpiChannel(MPI_COMM_WORLD);
  arriving_.resize(static_cast<std::size_t>(world.size));
  bye_from_.resize(static_cast<std::size_t>(world.size));
}

void MpiEngine::stop_mpi() {
  const bool everyone_left = std::all_of(bye_from_.begin(), bye_from_.end(), std::identity{});
  if (farewell_end_ && !everyone_left) {
    // MPI_Finalize waits for every rank, and one of them will not come.
    log_warning("rank {} leaves without MPI_Finalize, because not every rank said goodbye",
                world_.rank);
    return;
  }
  try {
    bells_.close();
    messages_.release();
    mail_.release();
    check_mpi(MPI_Finalize(), "MPI_Finalize");
  } catch (const Error& error) {
    log_warning("rank {}: {}", world_.rank, error.what());
  }
}

void MpiEngine::loop() {
  last_moved_ = Clock::now();
  liveness_.emplace(world_.rank, world_.size, options_.heartbeat_interval, options_.silence_limit,
                    last_moved_);
  std::uint32_t answered = bells_.own_rings();
  int fruitless = 0;  // looks in a row that found nothing
  for (;;) {
    const std::uint32_t rings = bells_.own_rings();  // before looking: a later ring ends the nap
    bool moved = std::exchange(answered, rings) != rings;
    try {
      moved |= poll_once();
    } catch (const Error& error) {
      report(error.what());
    }
    const Clock::time_point now = Clock::now();
    if (moved) last_moved_ = now;
    fruitless = moved ? 0 : fruitless + 1;
    if (may_leave(now)) return;
    // MPI finishes a transfer in one call and tells in the next, so one look is not enough, however
    // long this thread was kept from it.
    const nanoseconds nap = policy_.nap_after(now - last_moved_, !large_under_way());
    if (fruitless >= 4 && nap > nanoseconds::zero()) bells_.wait(rings, nap);
  }
}

// A transfer in pieces needs both ends to look, and the pieces do not ring.
bool MpiEngine::large_under_way() const {
  constexpr std::size_t kLarge = std::size_t{64} << 10U;
  return std::any_of(flights_.begin(), flights_.end(), [](const Flight& flight) {
    return flight.source.bytes.size() >= kLarge || flight.target.bytes.size() >= kLarge ||
           (flight.mail && flight.mail->size() >= kLarge);
  });
}

bool MpiEngine::poll_once() {
  bool moved = start_submitted();
  moved |= test_flights();
  if (world_.size > 1 || !flights_.empty()) moved |= probe_mail();
  keep_alive(Clock::now());
  return moved;
}

void MpiEngine::keep_alive(Clock::time_point now) {
  {
    std::scoped_lock lock(mutex_);
    if (failure_ || finish_requested_) return;
  }
  for (const int peer : liveness_->due(now)) {
    auto mail = std::make_shared<const Bytes>(wire::encode(wire::Kind::kHeartbeat, 0, {}));
    const std::span<const std::byte> bytes(*mail);
    start({Kind::kMailOut,
           peer,
           std::make_shared<OperationState>(nullptr),
           {mail, bytes},
           {},
           nullptr});
  }
  if (const std::optional<int> peer = liveness_->lost(now)) {
    const double seconds = std::chrono::duration<double>(liveness_->silence(*peer, now)).count();
    sink_.lost(*peer, fmt::format("silent for {:.1f} s", seconds));
  }
}

void MpiEngine::fail_flights() {
  const Error error = [&] {
    std::scoped_lock lock(mutex_);
    return *failure_;
  }();
  for (std::size_t i = 0; i < flights_.size(); ++i) {
    if (flights_[i].kind == Kind::kRecv) MPI_Cancel(&requests_[i]);
    // The abort's own mail is still on its way; nobody waits for it.
    if (flights_[i].operation) flights_[i].operation->fail(error);
  }
}

void MpiEngine::report(const std::string& what) {
  // One report ends the gang; a broken transport would repeat it at every poll.
  if (std::exchange(broken_, true)) return;
  if (sink_.failed) sink_.failed(what);
}

bool MpiEngine::may_leave(Clock::time_point now) {
  std::optional<bool> orderly;
  {
    std::scoped_lock lock(mutex_);
    if (!submitted_.empty() || failure_is_new_) return false;
    orderly = finish_requested_;
  }
  if (!orderly) return false;
  if (*orderly) {
    // Everyone passed the last barrier; what is left is our own mail on its way out.
    const auto is_mail_out = [](const Flight& flight) { return flight.kind == Kind::kMailOut; };
    return std::none_of(flights_.begin(), flights_.end(), is_mail_out);
  }
  if (!farewell_end_) {
    farewell_end_ = now + options_.farewell;
    say_bye();
  }
  return now >= *farewell_end_ || std::all_of(bye_from_.begin(), bye_from_.end(), std::identity{});
}

void MpiEngine::say_bye() {
  bye_from_[static_cast<std::size_t>(world_.rank)] = true;
  for (int peer = 0; peer < world_.size; ++peer) {
    if (peer == world_.rank) continue;
    auto mail = std::make_shared<const Bytes>(wire::encode(wire::Kind::kBye, 0, {}));
    const std::span<const std::byte> bytes(*mail);
    start({Kind::kMailOut,
           peer,
           std::make_shared<OperationState>(nullptr),
           {mail, bytes},
           {},
           nullptr});
  }
}

}  // namespace seamwright::comm
