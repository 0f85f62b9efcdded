// Captured evaluations over the double: the same bits as running every op, with inputs that lie
// elsewhere each time, stages that hand on activations, and a bounded number of graphs.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "model/cuda/graphed_denoiser.h"
#include "tests/unit/cuda/fake_cuda.h"
#include "tests/unit/model/tiny_networks.h"

namespace seamwright::model::cuda {
namespace {

using model::testing_support::fixture_context;
using model::testing_support::fixture_input;
using model::testing_support::FormulaLoad;
using model::testing_support::tiny_unet_motion;
using testing_support::FakeCuda;

class Graphs : public ::testing::Test {
 protected:
  std::vector<float> values(ConstView device) {
    Tensor host(heap(), DType::kF32, device.shape);
    backend_.download(device, host);
    return {host.view().as<float>(), host.view().as<float>() + host.shape().elements()};
  }
  // One evaluation from memory that was elsewhere the last time.
  std::vector<float> predict(const Denoiser& denoiser, float timestep, PromptContext& context,
                             double gain = 1) {
    Exec exec{backend_, backend_.memory()};
    holes_.emplace_back(backend_.memory(), DType::kU8, Shape{100 + 3000 * ++draws_});
    Tensor sample = ops::upload(exec, fixture_input({4, 2, 4, 4}));
    sample = ops::affine(exec, gain, 0, sample);
    return values(denoiser.predict(exec, sample, {.timestep = timestep, .context = &context}));
  }

  std::shared_ptr<FakeCuda> calls_ = std::make_shared<FakeCuda>();
  CudaBackend backend_{calls_, {.activation = DType::kF32}};
  Exec exec_{backend_, backend_.memory()};
  FormulaLoad load_{backend_};
  UNet unet_{tiny_unet_motion(true), load_.context, nullptr};
  std::vector<Tensor> holes_;
  std::int64_t draws_ = 0;
};

TEST_F(Graphs, GiveTheBitsOfRunningEveryOp) {
  const GraphedDenoiser graphed(unet_, backend_);
  PromptContext context = fixture_context(2);
  for (int i = 0; i < 6; ++i) {
    const float timestep = static_cast<float>(900 - 100 * i);
    const double gain = 1 - 0.1 * i;
    EXPECT_EQ(predict(graphed, timestep, context, gain), predict(unet_, timestep, context, gain))
        << "evaluation " << i;
  }
  EXPECT_EQ(graphed.report().eager, 2);
  EXPECT_EQ(graphed.report().captured, 1);
  EXPECT_EQ(graphed.report().replayed, 4);
  EXPECT_EQ(calls_->launches(), 4);
}

TEST_F(Graphs, GoOnOpByOpWhereTheDriverRefusesACapture) {
  calls_->captures = false;
  const GraphedDenoiser graphed(unet_, backend_);
  PromptContext context = fixture_context(2);
  for (int i = 0; i < 5; ++i) {
    const float timestep = static_cast<float>(900 - 100 * i);
    EXPECT_EQ(predict(graphed, timestep, context), predict(unet_, timestep, context));
  }
  EXPECT_EQ(graphed.report().refused, 1);
  EXPECT_EQ(graphed.report().eager, 5);
  EXPECT_EQ(calls_->launches(), 0);
}

TEST_F(Graphs, KeepPromptsApart) {
  const GraphedDenoiser graphed(unet_, backend_);
  PromptContext first = fixture_context(2);
  PromptContext second = fixture_context(2);
  const auto half = [&] {
    Tensor t(heap(), DType::kF64, first.embeddings().shape);
    for (std::int64_t i = 0; i < t.shape().elements(); ++i) {
      t.view().as<double>()[i] = 0.5 * first.embeddings().as<double>()[i];
    }
    return t;
  };
  PromptContext weak(half());
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(predict(graphed, 500, first), predict(graphed, 500, second));
    EXPECT_EQ(predict(graphed, 500, weak), predict(unet_, 500, weak));
  }
  EXPECT_NE(predict(graphed, 500, first), predict(graphed, 500, weak));
  EXPECT_EQ(graphed.report().captured, 3);
}

TEST_F(Graphs, HandOnWhatCrossesACut) {
  const GraphedDenoiser graphed(unet_, backend_);
  PromptContext context = fixture_context(2);
  const std::size_t cut = unet_.blocks().size() / 2, end = unet_.blocks().size();
  for (int i = 0; i < 4; ++i) {
    const auto in_two = [&](const Denoiser& denoiser) {
      Exec exec{backend_, backend_.memory()};
      const Tensor sample = ops::upload(exec, fixture_input({4, 2, 4, 4}));
      Activations activations;
      activations.borrow("sample", sample);
      const DenoiseInput input{
          .timestep = 300.0F + static_cast<float>(i), .context = &context, .height = 4, .width = 4};
      denoiser.run(exec, 0, cut, input, activations);
      EXPECT_FALSE(activations.has("sample"));
      denoiser.run(exec, cut, end, input, activations);
      return values(activations.get("prediction"));
    };
    EXPECT_EQ(in_two(graphed), in_two(unet_)) << "evaluation " << i;
  }
  EXPECT_EQ(graphed.report().captured, 2);
}

TEST_F(Graphs, AreBoundedAndGivenBack) {
  {
    const GraphedDenoiser graphed(unet_, backend_, 2);
    std::vector<std::unique_ptr<PromptContext>> contexts;
    for (int i = 0; i < 4; ++i) {
      contexts.emplace_back(new PromptContext(fixture_context(2)));
      for (int j = 0; j < 3; ++j) predict(graphed, 500, *contexts.back());
      EXPECT_LE(calls_->graphs_alive(), 2);
    }
    EXPECT_EQ(graphed.report().captured, 4);
    EXPECT_EQ(calls_->graphs_alive(), 2);
  }
  EXPECT_EQ(calls_->graphs_alive(), 0);
}

// A message for another rank may be packed while this rank captures: it must wait, not become a
// part of the graph.
TEST_F(Graphs, KeepOtherThreadsCopiesOut) {
  const Tensor device = ops::affine(exec_, 1, 0, ops::upload(exec_, fixture_input({1, 1, 2, 2})));
  std::vector<std::byte> bytes(device.view().bytes());
  std::atomic<bool> copied = false;
  std::thread messenger;
  const auto graph = backend_.capture([&] {
    messenger = std::thread([&] {
      backend_.copy_out(device, bytes);
      copied = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_FALSE(copied);
  });
  messenger.join();
  EXPECT_TRUE(copied);
}

TEST_F(Graphs, RefuseHostCopiesWhileCapturing) {
  Tensor device(backend_.memory(), DType::kF32, {4}), host(heap(), DType::kF32, {4});
  EXPECT_THROW(backend_.capture([&] { backend_.upload(host, device); }), Error);
  EXPECT_EQ(calls_->graphs_alive(), 0);
  backend_.upload(host, device);  // and go on afterwards
}

}  // namespace
}  // namespace seamwright::model::cuda
