// Collectives of Fabric, written over mail: a star through one rank. They carry agreement and
// set-up, a few per job, so a star's N messages are cheaper than the code of a tree.
#include <algorithm>
#include <cstring>

#include "comm/fabric.h"
#include "comm/fabric_shared.h"
#include "comm/wire.h"

namespace seamwright::comm {
namespace {

enum class Call : std::uint64_t { kBroadcast = 1, kReduce = 2, kGather = 3, kBarrier = 4 };

// Which call this is and its number on this rank: ranks that disagree find out at once instead of
// taking one call's bytes for another's.
std::uint64_t tag_of(Call call, std::uint64_t number) {
  return (static_cast<std::uint64_t>(call) << 56U) | (number & ((1ULL << 56U) - 1));
}

}  // namespace

void Fabric::post_collective(int peer, std::uint64_t tag, std::span<const std::byte> body) {
  post_kind(peer, wire::Kind::kCollective, tag, body);
}

Bytes Fabric::take_collective(int from, std::uint64_t tag) {
  std::unique_lock lock(shared_->mutex);
  auto& queue = shared_->collective_mail[static_cast<std::size_t>(from)];
  shared_->collective_arrived.wait(
      lock, [&] { return shared_->abort_error.has_value() || !queue.empty(); });
  // An abort wins over bytes that have arrived: some other rank will never get its part.
  if (shared_->abort_error) throw Error(*shared_->abort_error);
  const wire::Mail mail = std::move(queue.front());
  queue.pop_front();
  lock.unlock();
  if (mail.tag != tag) {
    disagree(
        fmt::format("ranks {} and {} are in different collective calls (tags {:#x} and "
                    "{:#x}): every rank must make the same calls in the same order",
                    rank_, from, tag, mail.tag));
  }
  return mail.body;
}

// The other ranks are inside the same call and would wait for ever: end it for all before throwing.
void Fabric::disagree(const std::string& how) {
  abort(how);
  throw Error(ErrorCode::kInternal, how);
}

std::vector<Bytes> Fabric::gather_at_zero(std::uint64_t tag, std::span<const std::byte> bytes) {
  std::vector<Bytes> parts;
  if (rank_ != 0) {
    post_collective(0, tag, bytes);
    return parts;
  }
  parts.emplace_back(bytes.begin(), bytes.end());
  for (int peer = 1; peer < size_; ++peer) {
    parts.push_back(take_collective(peer, tag));
  }
  return parts;
}

Bytes Fabric::send_from_root(int root, std::uint64_t tag, Bytes bytes) {
  if (rank_ != root) return take_collective(root, tag);
  for (int peer = 0; peer < size_; ++peer) {
    if (peer != root) post_collective(peer, tag, bytes);
  }
  return bytes;
}

void Fabric::broadcast(int root, Bytes& bytes) {
  check_usable(root);
  std::scoped_lock lock(shared_->collective_mutex);
  const std::uint64_t tag = tag_of(Call::kBroadcast, ++shared_->collective_count);
  bytes = send_from_root(root, tag, std::move(bytes));
}

std::vector<Bytes> Fabric::all_gather(std::span<const std::byte> bytes) {
  check_usable(rank_);
  std::scoped_lock lock(shared_->collective_mutex);
  const std::uint64_t tag = tag_of(Call::kGather, ++shared_->collective_count);
  const std::vector<Bytes> parts = gather_at_zero(tag, bytes);
  return wire::unpack(send_from_root(0, tag, rank_ == 0 ? wire::pack(parts) : Bytes{}));
}

std::vector<double> Fabric::all_reduce(std::span<const double> values, Reduction reduction) {
  check_usable(rank_);
  std::scoped_lock lock(shared_->collective_mutex);
  const std::uint64_t tag = tag_of(Call::kReduce, ++shared_->collective_count);
  std::vector<double> result(values.begin(), values.end());
  const std::vector<Bytes> parts = gather_at_zero(tag, std::as_bytes(values));
  for (std::size_t r = 1; r < parts.size(); ++r) {
    if (parts[r].size() != values.size_bytes()) {
      disagree(fmt::format("all_reduce of {} bytes on rank 0 but of {} on rank {}",
                           values.size_bytes(), parts[r].size(), r));
    }
    for (std::size_t i = 0; i < result.size(); ++i) {
      double other = 0;
      std::memcpy(&other, parts[r].data() + i * sizeof(double), sizeof(double));
      result[i] = reduction == Reduction::kSum ? result[i] + other : std::max(result[i], other);
    }
  }
  const auto result_bytes = std::as_bytes(std::span(result));
  const Bytes reduced = send_from_root(
      0, tag, rank_ == 0 ? Bytes(result_bytes.begin(), result_bytes.end()) : Bytes{});
  if (reduced.size() != values.size_bytes()) {
    disagree(fmt::format("all_reduce of {} bytes on rank {} but of {} on rank 0",
                         values.size_bytes(), rank_, reduced.size()));
  }
  if (!result.empty()) std::memcpy(result.data(), reduced.data(), reduced.size());
  return result;
}

void Fabric::barrier() {
  check_usable(rank_);
  std::scoped_lock lock(shared_->collective_mutex);
  const std::uint64_t tag = tag_of(Call::kBarrier, ++shared_->collective_count);
  gather_at_zero(tag, {});
  send_from_root(0, tag, {});
}

}  // namespace seamwright::comm
