// The requests of MpiEngine: started, tested, landed; and mail put back in order.
#include <algorithm>
#include <utility>

#include "comm/mpi/mpi_engine.h"
#include "comm/wire.h"

namespace seamwright::comm {

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

// Messages of one peer are matched in the order they are started, and so are their pieces.
void MpiEngine::start(Flight flight) {
  const bool mail = flight.kind == Kind::kMailOut || flight.kind == Kind::kMailIn;
  const auto size = std::max(flight.source.bytes.size(), flight.target.bytes.size());
  const auto piece = options_.piece_bytes;
  if (mail || size <= piece) return start_one(std::move(flight));
  const auto left = std::make_shared<std::size_t>((size + piece - 1) / piece);
  for (std::size_t at = 0; at < size; at += piece) {
    Flight part = flight;
    const auto length = std::min(piece, size - at);
    if (flight.kind == Kind::kSend) part.source.bytes = flight.source.bytes.subspan(at, length);
    if (flight.kind == Kind::kRecv) part.target.bytes = flight.target.bytes.subspan(at, length);
    part.left = left;
    start_one(std::move(part));
  }
}

void MpiEngine::start_one(Flight flight) {
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
  bells_.ring(flight.peer);  // a new message, or room for one it holds back
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
  if (flight.kind == Kind::kRecv || flight.kind == Kind::kMailIn) {
    bells_.ring(flight.peer);  // its send may be over
  }
  if (flight.kind == Kind::kMailIn) {
    for (ArrivingMail& mail : arriving_[static_cast<std::size_t>(flight.peer)]) {
      if (mail.bytes == flight.mail) mail.complete = true;
    }
    hand_up_mail(flight.peer);
  } else {
    flight.source = {};
    flight.target = {};
    if (!flight.left || --*flight.left == 0) flight.operation->complete();
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

}  // namespace seamwright::comm
