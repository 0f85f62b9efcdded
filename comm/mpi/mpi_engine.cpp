#include "comm/mpi/mpi_engine.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "comm/wire.h"

namespace seamwright::comm {

using std::chrono::microseconds;
using std::chrono::nanoseconds;

std::chrono::nanoseconds PollPolicy::nap_after(nanoseconds idle) const {
  if (idle < hot) return nanoseconds::zero();
  return std::clamp<nanoseconds>(idle / 4, microseconds(5), longest_nap);
}

PollPolicy choose_poll_policy(const MpiOptions& options, int local_ranks, int cores) {
  // A rank has a compute thread and this one. While each has a core, polling costs nobody anything;
  // where they share, a poll costs about 5 microseconds of somebody's core, so the naps of all
  // ranks together are kept long enough to take at most a few per cent of the host.
  const bool unshared = 2 * local_ranks <= cores;
  PollPolicy policy;
  policy.hot = unshared ? microseconds(200) : microseconds(10);
  policy.longest_nap =
      unshared ? microseconds(50) : microseconds(200) * std::max(1, local_ranks / cores);
  if (options.hot_poll.count() >= 0) policy.hot = options.hot_poll;
  if (options.longest_nap.count() >= 0) policy.longest_nap = options.longest_nap;
  policy.longest_nap = std::max<nanoseconds>(policy.longest_nap, microseconds(5));
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
  wake_.notify_one();
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
    wake_.notify_one();
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
  wake_.notify_one();
}

void MpiEngine::finish(bool orderly) {
  {
    std::scoped_lock lock(mutex_);
    if (!finish_requested_) finish_requested_ = orderly;
  }
  wake_.notify_one();
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
  const int local_size = world_.local_size;
  policy_ = choose_poll_policy(options_, local_size,
                               static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)));
  started.set_value(world_);
  {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return active_ || finish_requested_; });
  }
  loop();
  stop_mpi();
}

void MpiEngine::start_mpi() {
  int initialized = 0;
  MPI_Initialized(&initialized);
  require(initialized == 0,
          "MPI was already started in this process and cannot be started again: keep one fabric for "
          "the life of the process");
  int provided = 0;
  // This thread is MPI's main thread and the only one that calls it, whatever else runs.
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  MpiWorld world;
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &world.rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &world.size), "MPI_Comm_size");
  world.local_size = count_local_ranks();
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
  for (;;) {
    bool moved = false;
    try {
      moved = poll_once();
    } catch (const Error& error) {
      report(error.what());
    }
    const Clock::time_point now = Clock::now();
    if (moved) last_moved_ = now;
    if (may_leave(now)) return;
    if (!moved) nap(now);
  }
}

bool MpiEngine::poll_once() {
  bool moved = start_submitted();
  moved |= test_flights();
  if (world_.size > 1 || !flights_.empty()) moved |= probe_mail();
  keep_alive(Clock::now());
  return moved;
}

bool MpiEngine::start_submitted() {
  std::vector<Flight> batch;
  bool fail_now = false;
  {
    std::scoped_lock lock(mutex_);
    batch.swap(submitted_);
    fail_now = std::exchange(failure_is_new_, false);
  }
  for (Flight& flight : batch) start(std::move(flight));
  if (fail_now) fail_flights();
  return !batch.empty() || fail_now;
}

void MpiEngine::start(Flight flight) {
  MPI_Request request = MPI_REQUEST_NULL;
  try {
    if (flight.kind == Kind::kRecv) {
      request = messages_.receive(flight.peer, flight.target.bytes);
    } else if (flight.kind == Kind::kSend) {
      request = messages_.send(flight.peer, flight.source.bytes, options_.synchronous_sends);
    } else {
      request = mail_.send(flight.peer, flight.source.bytes, false);
    }
  } catch (const Error& error) {
    flight.operation->fail(error);
    report(error.what());
    return;
  }
  requests_.push_back(request);
  flights_.push_back(std::move(flight));
}

bool MpiEngine::test_flights() {
  if (requests_.empty()) return false;
  const int count = static_cast<int>(requests_.size());
  completed_.resize(requests_.size());
  statuses_.resize(requests_.size());
  int done = 0;
  const int code =
      MPI_Testsome(count, requests_.data(), &done, completed_.data(), statuses_.data());
  if (code != MPI_ERR_IN_STATUS) check_mpi(code, "MPI_Testsome");
  if (done == MPI_UNDEFINED || done <= 0) return false;
  // Take all of them out before telling anyone, in the order they were started.
  std::vector<std::pair<int, MPI_Status>> landed;
  for (int i = 0; i < done; ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (code != MPI_ERR_IN_STATUS) statuses_[at].MPI_ERROR = MPI_SUCCESS;
    landed.emplace_back(completed_[at], statuses_[at]);
  }
  std::sort(landed.begin(), landed.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Flight> over;
  for (const auto& [index, status] : landed) {
    over.push_back(std::move(flights_[static_cast<std::size_t>(index)]));
  }
  std::size_t kept = 0;
  std::size_t next = 0;
  for (std::size_t i = 0; i < flights_.size(); ++i) {
    if (next < landed.size() && static_cast<std::size_t>(landed[next].first) == i) {
      ++next;
      continue;
    }
    if (kept != i) {
      requests_[kept] = requests_[i];
      flights_[kept] = std::move(flights_[i]);
    }
    ++kept;
  }
  requests_.resize(kept);
  flights_.resize(kept);
  for (std::size_t i = 0; i < over.size(); ++i) {
    land(std::move(over[i]), landed[i].second.MPI_ERROR, landed[i].second);
  }
  return true;
}

void MpiEngine::land(Flight flight, int code, const MPI_Status& status) {
  try {
    check_mpi(code, "an MPI transfer");
    if (flight.kind == Kind::kRecv) {
      int count = 0;
      check_mpi(MPI_Get_count(&status, MPI_BYTE, &count), "MPI_Get_count");
      int cancelled = 0;
      check_mpi(MPI_Test_cancelled(&status, &cancelled), "MPI_Test_cancelled");
      if (cancelled == 0 && static_cast<std::size_t>(count) != flight.target.bytes.size()) {
        fail(ErrorCode::kInternal,
             "rank {} sent {} bytes where rank {} expected {}: their plans differ", flight.peer,
             count, world_.rank, flight.target.bytes.size());
      }
    }
  } catch (const Error& error) {
    if (flight.operation) flight.operation->fail(error);
    report(error.what());
    return;
  }
  if (flight.kind == Kind::kMailIn) {
    for (ArrivingMail& mail : arriving_[static_cast<std::size_t>(flight.peer)]) {
      if (mail.bytes == flight.mail) mail.complete = true;
    }
    hand_up_mail(flight.peer);
  } else {
    flight.operation->complete();
  }
}

bool MpiEngine::probe_mail() {
  bool any = false;
  MpiChannel::Incoming incoming;
  // Bounded, so that a flood of mail cannot starve messages.
  for (int i = 0; i < 64 && mail_.probe(incoming); ++i) {
    any = true;
    auto bytes = std::make_shared<Bytes>(incoming.size);
    requests_.push_back(MpiChannel::receive(incoming, *bytes));
    flights_.push_back({Kind::kMailIn, incoming.from, nullptr, {}, {}, bytes});
    arriving_[static_cast<std::size_t>(incoming.from)].push_back({bytes, false});
    if (liveness_) liveness_->heard(incoming.from, Clock::now());
  }
  return any;
}

// A short mail can overtake a long one on the wire; they are handed up in the order sent.
void MpiEngine::hand_up_mail(int from) {
  auto& queue = arriving_[static_cast<std::size_t>(from)];
  while (!queue.empty() && queue.front().complete) {
    const std::shared_ptr<Bytes> bytes = std::move(queue.front().bytes);
    queue.pop_front();
    if (!bytes->empty() && static_cast<wire::Kind>(bytes->front()) == wire::Kind::kBye) {
      bye_from_[static_cast<std::size_t>(from)] = true;
    } else if (sink_.mail) {
      sink_.mail(from, std::move(*bytes));
    }
  }
}

void MpiEngine::keep_alive(Clock::time_point now) {
  {
    std::scoped_lock lock(mutex_);
    if (failure_ || finish_requested_) return;
  }
  for (const int peer : liveness_->due(now)) {
    auto mail = std::make_shared<const Bytes>(wire::encode(wire::Kind::kHeartbeat, 0, {}));
    const std::span<const std::byte> bytes(*mail);
    start({Kind::kMailOut, peer, std::make_shared<OperationState>(nullptr), {mail, bytes}, {},
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
  return now >= *farewell_end_ ||
         std::all_of(bye_from_.begin(), bye_from_.end(), std::identity{});
}

void MpiEngine::say_bye() {
  bye_from_[static_cast<std::size_t>(world_.rank)] = true;
  for (int peer = 0; peer < world_.size; ++peer) {
    if (peer == world_.rank) continue;
    auto mail = std::make_shared<const Bytes>(wire::encode(wire::Kind::kBye, 0, {}));
    const std::span<const std::byte> bytes(*mail);
    start({Kind::kMailOut, peer, std::make_shared<OperationState>(nullptr), {mail, bytes}, {},
           nullptr});
  }
}

void MpiEngine::nap(Clock::time_point now) {
  const nanoseconds length = policy_.nap_after(now - last_moved_);
  if (length == nanoseconds::zero()) return;
  std::unique_lock lock(mutex_);
  wake_.wait_for(lock, length, [this] { return !submitted_.empty() || failure_is_new_; });
}

}  // namespace seamwright::comm
