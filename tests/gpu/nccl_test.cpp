// NCCL itself with a communicator of one rank, which sends to itself: all that one GPU can show.
#include <gtest/gtest.h>

#include <algorithm>

#include "comm/loopback/loopback.h"
#include "comm/nccl/nccl_fabric.h"
#include "model/cuda/cuda_backend.h"

namespace seamwright::comm {
namespace {

TEST(NcclOnOneGpu, SendsToItself) {
  if (model::cuda_devices().empty()) GTEST_SKIP() << "this host has no CUDA device";
  if (!nccl_available()) GTEST_SKIP() << "this build has no NCCL";
  const auto backend = model::make_cuda_backend({.activation = model::DType::kF32});
  LoopbackGang gang(1);
  // The gang outlives the fabric that is connected over it.
  const std::shared_ptr<Fabric> control(&gang.fabric(0), [](Fabric*) {});
  const auto fabric = connect_nccl(control, make_nccl_calls(0));

  constexpr std::size_t kBytes = std::size_t{3} << 20;
  model::Tensor from(backend->memory(), model::DType::kU8, {kBytes});
  model::Tensor to(backend->memory(), model::DType::kU8, {kBytes});
  std::vector<std::byte> sent(kBytes), received(kBytes);
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = 0; i < kBytes; ++i) sent[i] = std::byte((i * 7 + round) % 251);
    backend->copy_in(sent, from);
    Operation send, recv;
    {
      Group group(*fabric);
      send = fabric->send(
          0, borrow_buffer(std::span<const std::byte>(from.view().as<std::byte>(), kBytes)));
      recv = fabric->recv(0, borrow_buffer(std::span(to.view().as<std::byte>(), kBytes)));
      group.end();
    }
    send.wait();
    recv.wait();
    backend->copy_out(to, received);
    EXPECT_EQ(received, sent) << "round " << round;
  }
  fabric->close();
}

TEST(NcclOnOneGpu, LeavesHostMemoryToTheHostFabric) {
  if (model::cuda_devices().empty()) GTEST_SKIP() << "this host has no CUDA device";
  if (!nccl_available()) GTEST_SKIP() << "this build has no NCCL";
  LoopbackGang gang(1);
  const std::shared_ptr<Fabric> control(&gang.fabric(0), [](Fabric*) {});
  const auto fabric = connect_nccl(control, make_nccl_calls(0));
  const Buffer sent = allocate_buffer(64), received = allocate_buffer(64);
  for (std::size_t i = 0; i < 64; ++i) sent.bytes[i] = std::byte(i);
  const Operation send = fabric->send(0, sent), recv = fabric->recv(0, received);
  send.wait();
  recv.wait();
  EXPECT_TRUE(std::ranges::equal(sent.bytes, received.bytes));
  fabric->close();
}

}  // namespace
}  // namespace seamwright::comm
