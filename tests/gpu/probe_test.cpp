// What reading cannot decide about the libraries and the chip: one question a case, each small, the
// answers printed. Run first on a new GPU, library or driver: what fails here explains what fails
// later.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>

#include "base/rng.h"
#include "model/convert.h"
#include "model/cuda/backend.h"
#include "model/cuda/vendor/product_trial.h"

namespace seamwright::model::cuda {
namespace {

constexpr std::int64_t kFrames = 16;

class Probe : public ::testing::Test {
 protected:
  void SetUp() override {
    if (cuda_devices().empty()) GTEST_SKIP() << "this host has no CUDA device";
    calls_ = std::make_shared<RealCalls>(0);
    backend_ = std::make_unique<CudaBackend>(calls_, CudaOptions{.activation = DType::kBF16});
    stream_ = calls_->create_stream();
  }
  void TearDown() override {
    if (stream_ != nullptr) calls_->destroy_stream(stream_);
  }
  // bf16 on the device.
  Tensor drawn(const Shape& shape, std::uint64_t seed) {
    Tensor host(heap(), DType::kF32, shape);
    fill_normal(NoiseKey{seed, NoisePurpose::kTest},
                {host.view().as<float>(), static_cast<std::size_t>(shape.elements())});
    Tensor device(backend_->memory(), DType::kBF16, shape);
    backend_->upload(host, device);
    backend_->synchronize();
    return device;
  }
  std::vector<std::byte> bytes_of(const Tensor& device) {
    calls_->wait_for_stream(stream_);
    std::vector<std::byte> bytes(device.view().bytes());
    backend_->copy_out(device, bytes);
    return bytes;
  }
  Tensor room(DType type, const Shape& shape) { return Tensor(backend_->memory(), type, shape); }

  std::shared_ptr<RealCalls> calls_;
  std::unique_ptr<CudaBackend> backend_;
  Stream stream_ = nullptr;
};

Convolution square(std::int64_t n, std::int64_t side, std::int64_t in, std::int64_t out, int stride,
                   DType type, DType result) {
  const std::int64_t to = (side - 1) / stride + 1;
  return {n, side, side, in, to, to, out, 3, stride, 1, 1, 1, 1, type, result};
}

// The library's engine for every shape that takes time, and what else it offers.
TEST_F(Probe, ConvolutionsOfTheFullSizeHaveEngines) {
  Dnn dnn(std::size_t{128} << 20, 0);
  const auto ask = [&](const char* what, const Convolution& c) {
    const bool taken = dnn.can_convolve(c);
    std::printf("%s: %lldx%lldx%lld, %lld -> %lld, stride %d, %s -> %s: %s\n", what,
                static_cast<long long>(c.n), static_cast<long long>(c.h),
                static_cast<long long>(c.w), static_cast<long long>(c.in),
                static_cast<long long>(c.out), c.stride, std::string(to_string(c.type)).c_str(),
                std::string(to_string(c.result_type)).c_str(),
                taken ? "cuDNN" : "PRODUCTS OVER PATCHES");
    for (const auto& line : dnn.survey(c)) std::printf("    %s\n", line.c_str());
    return taken;
  };
  for (const DType type : {DType::kBF16, DType::kF16}) {
    for (const auto& [side, in, out, stride] :
         std::initializer_list<std::array<std::int64_t, 4>>{{64, 8, 320, 1},
                                                            {64, 320, 320, 1},
                                                            {64, 640, 320, 1},
                                                            {64, 960, 320, 1},
                                                            {64, 320, 320, 2},
                                                            {32, 640, 640, 1},
                                                            {32, 1280, 640, 1},
                                                            {32, 1920, 640, 1},
                                                            {16, 1280, 1280, 1},
                                                            {16, 2560, 1280, 1},
                                                            {8, 1280, 1280, 1},
                                                            {8, 2560, 1280, 1}}) {
      EXPECT_TRUE(
          ask("U-Net", square(kFrames, side, in, out, static_cast<int>(stride), type, type)));
    }
    for (const auto& [side, in, out] :
         std::initializer_list<std::array<std::int64_t, 3>>{{64, 512, 512},
                                                            {128, 512, 512},
                                                            {256, 512, 256},
                                                            {512, 256, 128},
                                                            {512, 128, 128},
                                                            {512, 128, 8}}) {
      EXPECT_TRUE(ask("VAE", square(1, side, in, out, 1, type, type)));
    }
    // Not expected of every version: without it the last convolution is a product over patches.
    ask("prediction", square(kFrames, 64, 320, 8, 1, type, DType::kF32));
  }
  ask("U-Net in fp32", square(kFrames, 64, 320, 320, 1, DType::kF32, DType::kF32));
}

// Epilogues, widths and strides that a heuristic may have no algorithm for.
TEST_F(Probe, ProductsHaveAlgorithms) {
  struct Question {
    const char* what;
    std::int64_t rows, in, out;
    bool bias, residual, relu;
    DType result;
  };
  const Question questions[] = {
      {"plain", 65536, 320, 320, false, false, false, DType::kBF16},
      {"bias", 65536, 320, 320, true, false, false, DType::kBF16},
      {"bias and residual", 65536, 320, 320, true, true, false, DType::kBF16},
      {"relu", 4096, 64, 64, true, false, true, DType::kBF16},
      {"GEGLU's wide half", 3200, 320, 2560, false, false, false, DType::kF32},
      {"one row", 1, 320, 1280, true, false, false, DType::kBF16},
      {"prompt rows", 77, 768, 320, false, false, false, DType::kBF16},
      {"four columns", 4096, 4, 4, true, false, false, DType::kBF16},
      {"three columns", 4096, 64, 3, true, false, false, DType::kBF16},
      {"odd inner size", 4096, 77, 64, false, false, false, DType::kBF16},
      {"patches to fp32", 65536, 2880, 8, false, false, false, DType::kF32}};
  for (const auto& q : questions) {
    SCOPED_TRACE(q.what);
    const Tensor x = drawn({q.rows, q.in}, 1), w = drawn({q.out, q.in}, 2), b = drawn({q.out}, 3),
                 r = drawn({q.rows, q.out}, 4);
    Tensor y = room(q.result, {q.rows, q.out});
    Product p;
    p.rows = q.rows;
    p.in = p.x_stride = p.w_stride = q.in;
    p.out = p.y_stride = q.out;
    p.type = DType::kBF16;
    p.result_type = q.result;
    p.bias = q.bias;
    p.residual = q.residual;
    p.relu = q.relu;
    const ProductOperands o{x.view().data, w.view().data, q.bias ? b.view().data : nullptr,
                            q.residual ? r.view().data : nullptr, y.view().data};
    EXPECT_NO_THROW({
      calls_->multiply(p, o, stream_);
      calls_->wait_for_stream(stream_);
    });
  }
}

// Of the algorithms that cuBLASLt offers for the products that take time: each one's time, whether
// it gives the first one's bits, and which the trial takes.
TEST_F(Probe, ProductsOfTheFullSizeHaveFastAlgorithms) {
  cublasLtHandle_t handle = nullptr;
  check_cublas(cublasLtCreate(&handle), "cublasLtCreate");
  const std::size_t workspace_bytes = std::size_t{128} << 20;
  Tensor workspace = room(DType::kU8, {static_cast<std::int64_t>(workspace_bytes)});
  const auto stream = static_cast<cudaStream_t>(backend_->stream());
  for (const auto& [rows, in, out] :
       std::initializer_list<std::array<std::int64_t, 3>>{{65536, 320, 320},
                                                          {65536, 1280, 320},
                                                          {16384, 640, 640},
                                                          {16384, 2560, 640},
                                                          {4096, 1280, 1280},
                                                          {4096, 5120, 1280}}) {
    const Tensor x = drawn({rows, in}, 1), w = drawn({out, in}, 2), b = drawn({out}, 3),
                 r = drawn({rows, out}, 4);
    Tensor y = room(DType::kBF16, {rows, out});
    for (const int kind : {0, 1, 3}) {
      Product p;
      p.rows = rows;
      p.in = p.x_stride = p.w_stride = in;
      p.out = p.y_stride = out;
      p.type = p.result_type = DType::kBF16;
      p.bias = (kind & 1) != 0;
      p.residual = (kind & 2) != 0;
      const ProductOperands o{x.view().data, w.view().data, p.bias ? b.view().data : nullptr,
                              p.residual ? r.view().data : nullptr, y.view().data};
      ProductPlan plan(handle, p, 256, workspace.view().data, workspace_bytes);
      const auto run = [&] { plan.run(handle, o, workspace.view().data, workspace_bytes, stream); };
      std::printf("product %lld x %lld -> %lld%s%s:", static_cast<long long>(rows),
                  static_cast<long long>(in), static_cast<long long>(out), p.bias ? " +bias" : "",
                  p.residual ? " +residual" : "");
      std::vector<std::byte> first;
      for (std::size_t i = 0; i < plan.algorithms(); ++i) {
        plan.take(i);
        run();
        backend_->synchronize();
        const auto bits = bytes_of(y);
        if (i == 0) first = bits;
        std::printf(" %.1f%s", 1e6 * *backend_->seconds_alone(run), bits == first ? "" : "*");
      }
      const auto start = std::chrono::steady_clock::now();
      settle_by_trial(plan, p, handle, workspace.view().data, workspace_bytes, stream);
      const std::chrono::duration<double> tried = std::chrono::steady_clock::now() - start;
      run();
      backend_->synchronize();
      EXPECT_EQ(bytes_of(y), first);
      std::printf("; taken: %.1f us, tried for %.0f ms (*: other bits)\n",
                  1e6 * *backend_->seconds_alone(run), tried.count() * 1e3);
    }
  }
  cublasLtDestroy(handle);
}

// The same numbers give the same bits, run after run.
TEST_F(Probe, ConvolutionsAndProductsRepeatTheirBits) {
  const Convolution c = square(kFrames, 32, 640, 640, 1, DType::kBF16, DType::kBF16);
  const Tensor x = drawn({kFrames, 32, 32, 640}, 1), w = drawn({640, 3, 3, 640}, 2);
  Tensor y = room(DType::kBF16, {kFrames, 32, 32, 640});
  Product p;
  p.rows = kFrames * 1024;
  p.in = p.x_stride = p.w_stride = p.out = p.y_stride = 640;
  p.type = p.result_type = DType::kBF16;
  const Tensor square_w = drawn({640, 640}, 3);
  Tensor z = room(DType::kBF16, {kFrames, 32, 32, 640});
  std::vector<std::byte> first_y, first_z;
  for (int i = 0; i < 5; ++i) {
    calls_->convolve(c, x.view().data, w.view().data, y.view().data, stream_);
    calls_->multiply(p, {x.view().data, square_w.view().data, nullptr, nullptr, z.view().data},
                     stream_);
    const auto now_y = bytes_of(y), now_z = bytes_of(z);
    if (i == 0) {
      first_y = now_y;
      first_z = now_z;
    }
    EXPECT_EQ(now_y, first_y) << "convolution, run " << i;
    EXPECT_EQ(now_z, first_z) << "product, run " << i;
  }
}

// One graph of the library's convolution, the library's product and an own kernel, captured while
// another thread allocates, launches and waits.
TEST_F(Probe, ACaptureHoldsWhatAnEvaluationDoes) {
  const Convolution c = square(2, 32, 320, 320, 1, DType::kBF16, DType::kBF16);
  const Tensor x = drawn({2, 32, 32, 320}, 1), w = drawn({320, 3, 3, 320}, 2), b = drawn({320}, 4);
  Tensor y = room(DType::kBF16, {2, 32, 32, 320}), z = room(DType::kBF16, {2, 32, 32, 320});
  Product p;
  p.rows = 2048;
  p.in = p.x_stride = p.w_stride = p.out = p.y_stride = 320;
  p.type = p.result_type = DType::kBF16;
  p.bias = true;
  const Tensor square_w = drawn({320, 320}, 3);
  const auto evaluate = [&] {
    calls_->convolve(c, x.view().data, w.view().data, y.view().data, stream_);
    activate(Element::kBf16, static_cast<ActivationCode>(Activation::kSilu), y.view().data,
             y.view().data, y.view().elements(), stream_);
    calls_->multiply(
        p, {y.view().data, square_w.view().data, b.view().data, nullptr, z.view().data}, stream_);
  };
  ASSERT_TRUE(calls_->can_convolve(c));
  evaluate();
  const auto expected = bytes_of(z);
  calls_->begin_capture(stream_);
  evaluate();
  std::thread other([&] {
    calls_->bind_thread();
    void* memory = calls_->allocate_device(std::size_t{1} << 20);
    const Stream own = calls_->create_stream();
    calls_->on_device(memory, static_cast<std::byte*>(memory) + 4096, 4096, own);
    calls_->wait_for_stream(own);
    calls_->destroy_stream(own);
    calls_->free_device(memory);
  });
  other.join();
  Graph graph = nullptr;
  ASSERT_NO_THROW(graph = calls_->end_capture(stream_));
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(cudaMemset(z.view().data, 0, z.view().bytes()), cudaSuccess);
    calls_->launch(graph, stream_);
    EXPECT_EQ(bytes_of(z), expected) << "launch " << i;
  }
  calls_->destroy_graph(graph);
}

// Blocks with more shared memory than every chip gives without asking.
TEST_F(Probe, LargeHeadsStart) {
  for (const std::int64_t d :
       {std::int64_t{40}, std::int64_t{80}, std::int64_t{128}, std::int64_t{160}}) {
    const std::int64_t c = 8 * d;
    const Tensor q = drawn({2, 64, c}, 1), k = drawn({2, 77, c}, 2);
    Tensor y = room(DType::kBF16, {2, 64, c});
    EXPECT_NO_THROW({
      backend_->attention(8, false, q, k, k, y, backend_->memory());
      backend_->synchronize();
    }) << d;
  }
}

// Attention by cuDNN beside our own kernel: engines, time, agreement, repeated bits.
TEST_F(Probe, LargeAttentionHasEngines) {
  CudaBackend own(calls_, CudaOptions{.activation = DType::kBF16, .dnn = CudaDnn::kNever}),
      theirs(calls_, CudaOptions{.activation = DType::kBF16, .compile_small = true});
  Dnn dnn(std::size_t{128} << 20, 0);
  for (const Attention& a : {Attention{16, 4096, 4096, 8, 40, 320, DType::kBF16},
                             Attention{16, 1024, 1024, 8, 80, 640, DType::kBF16},
                             Attention{16, 256, 256, 8, 160, 1280, DType::kBF16},
                             Attention{16, 4096, 77, 8, 40, 320, DType::kBF16, true},
                             Attention{16, 1024, 77, 8, 80, 640, DType::kBF16, true},
                             Attention{16, 256, 77, 8, 160, 1280, DType::kBF16, true},
                             Attention{1, 4096, 4096, 1, 512, 512, DType::kBF16}}) {
    const int heads = static_cast<int>(a.heads);
    const std::int64_t width = a.heads * a.head_size;
    const std::int64_t entries = a.shared_keys ? 1 : a.n;
    const Tensor q = drawn({a.n, a.queries, width}, 1), k = drawn({entries, a.keys, width}, 2),
                 v = drawn({entries, a.keys, width}, 3);
    Tensor y = room(DType::kBF16, q.shape()), expected = room(DType::kBF16, q.shape());
    const auto by = [&](CudaBackend& backend, Tensor& to) {
      return 1e6 * *backend.seconds_alone(
                       [&] { backend.attention(heads, false, q, k, v, to, backend.memory()); });
    };
    const double our_us = by(own, expected), their_us = by(theirs, y);
    std::printf(
        "attention %lld x %lld queries, %lld keys, %d heads of %lld: ours %.1f us, cuDNN %.1f us\n",
        static_cast<long long>(a.n), static_cast<long long>(a.queries),
        static_cast<long long>(a.keys), heads, static_cast<long long>(a.head_size), our_us,
        their_us);
    for (const auto& line : dnn.survey(a)) std::printf("    %s\n", line.c_str());
    const auto wanted = bytes_of(expected), first = bytes_of(y);
    by(theirs, y);
    EXPECT_EQ(bytes_of(y), first) << "other bits at the second time";
    double error = 0, norm = 0;
    for (std::size_t i = 0; i + 1 < first.size(); i += 2) {
      std::uint16_t got = 0, want = 0;
      std::memcpy(&got, first.data() + i, 2);
      std::memcpy(&want, wanted.data() + i, 2);
      const double d = bf16_to_float(got) - bf16_to_float(want);
      error += d * d;
      norm += static_cast<double>(bf16_to_float(want)) * bf16_to_float(want);
    }
    EXPECT_LE(std::sqrt(error / norm), 8e-3);
  }
}

// What a message thread does: a stream of another thread waits for the compute stream's event.
TEST_F(Probe, AnotherThreadReadsWhatWasJustComputed) {
  const Tensor x = drawn({1 << 22}, 1);
  Tensor y = room(DType::kBF16, {1 << 22});
  for (int i = 0; i < 10; ++i) {
    backend_->affine(1, i, x, y);
    const void* behind = backend_->stream_behind_work();
    EXPECT_NE(behind, nullptr);
    std::vector<std::byte> there(y.view().bytes());
    std::thread([&] { backend_->copy_out(y, there); }).join();
    backend_->synchronize();
    std::vector<std::byte> here(y.view().bytes());
    backend_->copy_out(y, here);
    EXPECT_EQ(there, here) << i;
  }
}

}  // namespace
}  // namespace seamwright::model::cuda
