// NCCL itself with a communicator of one rank, which sends to itself: all that one GPU can show.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "comm/loopback/loopback.h"
#include "comm/nccl/nccl_fabric.h"
#include "model/cuda/cuda_backend.h"
#include "tests/unit/comm/fabric_cases.h"
#include "tests/unit/comm/fabric_conformance.h"

namespace seamwright::comm {
namespace {

// Page-locked memory: the cases fill and read it, NCCL sends it.
Buffer pinned_buffer(std::size_t size) {
  void* memory = nullptr;
  if (cudaMallocHost(&memory, std::max<std::size_t>(size, 1)) != cudaSuccess) {
    throw std::runtime_error("no page-locked memory");
  }
  return {std::shared_ptr<void>(memory, [](void* m) { cudaFreeHost(m); }),
          {static_cast<std::byte*>(memory), size}};
}

class OneGpuGang final : public conformance::TestGang {
 public:
  OneGpuGang() {
    const std::shared_ptr<Fabric> control(&host_.fabric(0), [](Fabric*) {});
    fabric_ = connect_nccl(control, make_nccl_calls(0));
    conformance::buffer_source() = pinned_buffer;
  }
  ~OneGpuGang() override {
    if (!fabric_->aborted() && !fabric_->closed()) fabric_->close();
    fabric_.reset();
    conformance::buffer_source() = allocate_buffer;
  }
  void run(const conformance::RankBody& body) override {
    try {
      body(*fabric_);
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
      fabric_->abort("the test failed");
    }
  }
  void lose_me(Fabric& me) override { host_.lose(me.rank()); }

 private:
  LoopbackGang host_{1};
  std::unique_ptr<Fabric> fabric_;
};

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

// The fabric suite, as far as one rank goes.
namespace conformance {
namespace {

std::unique_ptr<TestGang> one_gpu_gang() {
  if (model::cuda_devices().empty() || !nccl_available()) return nullptr;
  return std::make_unique<OneGpuGang>();
}
const auto kOneGpu = testing::Values(Implementation{"NcclOnOneGpu", one_gpu_gang, true});
INSTANTIATE_TEST_SUITE_P(Gpu, FabricConformance, kOneGpu, implementation_name);
INSTANTIATE_TEST_SUITE_P(Gpu, FabricEnding, kOneGpu, implementation_name);

}  // namespace
}  // namespace conformance
}  // namespace seamwright::comm
