#include "comm/mpi/mpi_calls.h"

#include <limits>

#include "base/error.h"

namespace seamwright::comm {
namespace {

constexpr int kTag = 0;  // messages are matched by order alone, as NCCL would

int checked_count(std::size_t size) {
  require(size <= static_cast<std::size_t>(std::numeric_limits<int>::max()),
          "a message of {} bytes is too long for MPI: the limit is 2^31 - 1; split it", size);
  return static_cast<int>(size);
}

}  // namespace

void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) [[likely]]
    return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  fail(ErrorCode::kUnavailable, "{} failed: {}", call,
       std::string(text, static_cast<std::size_t>(length)));
}

MpiChannel::MpiChannel(MPI_Comm parent) {
  check_mpi(MPI_Comm_dup(parent, &comm_), "MPI_Comm_dup");
  check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
}

void MpiChannel::release() {
  if (comm_ != MPI_COMM_NULL) check_mpi(MPI_Comm_free(&comm_), "MPI_Comm_free");
}

MPI_Request MpiChannel::send(int peer, std::span<const std::byte> bytes, bool synchronous) const {
  MPI_Request request = MPI_REQUEST_NULL;
  const int count = checked_count(bytes.size());
  if (synchronous) {
    check_mpi(MPI_Issend(bytes.data(), count, MPI_BYTE, peer, kTag, comm_, &request), "MPI_Issend");
  } else {
    check_mpi(MPI_Isend(bytes.data(), count, MPI_BYTE, peer, kTag, comm_, &request), "MPI_Isend");
  }
  return request;
}

MPI_Request MpiChannel::receive(int peer, std::span<std::byte> bytes) const {
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(
      MPI_Irecv(bytes.data(), checked_count(bytes.size()), MPI_BYTE, peer, kTag, comm_, &request),
      "MPI_Irecv");
  return request;
}

bool MpiChannel::probe(Incoming& incoming) const {
  int found = 0;
  MPI_Status status;
  check_mpi(MPI_Improbe(MPI_ANY_SOURCE, kTag, comm_, &found, &incoming.handle, &status),
            "MPI_Improbe");
  if (found == 0) return false;
  int count = 0;
  check_mpi(MPI_Get_count(&status, MPI_BYTE, &count), "MPI_Get_count");
  incoming.from = status.MPI_SOURCE;
  incoming.size = static_cast<std::size_t>(count);
  return true;
}

MPI_Request MpiChannel::receive(Incoming& incoming, std::span<std::byte> bytes) {
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(
      MPI_Imrecv(bytes.data(), checked_count(bytes.size()), MPI_BYTE, &incoming.handle, &request),
      "MPI_Imrecv");
  return request;
}

}  // namespace seamwright::comm
