// What is made ahead of a job: the body runs twice, first while plans are made on other threads.
#include <gtest/gtest.h>

#include "model/cuda/backend.h"
#include "tests/unit/cuda/fake_cuda.h"

namespace seamwright::model::cuda {
namespace {

using testing_support::FakeCuda;

class Rehearsal : public ::testing::Test {
 protected:
  Tensor room(const Shape& shape) { return Tensor(backend_.memory(), DType::kBF16, shape); }
  void attend() {
    Tensor q = room({2, 4, 32}), y = room({2, 4, 32});
    Tensor zero(heap(), DType::kF32, {2, 4, 32});
    for (std::int64_t i = 0; i < zero.view().elements(); ++i) zero.view().as<float>()[i] = 0;
    backend_.upload(zero, q);
    backend_.attention(4, false, q, q, q, y, backend_.memory());
  }

  std::shared_ptr<FakeCuda> calls_ = std::make_shared<FakeCuda>();
  CudaBackend backend_{calls_, CudaOptions{.activation = DType::kBF16, .compile_small = true}};
};

TEST_F(Rehearsal, FirstGoesOnWithoutWhatIsBeingCompiled) {
  std::vector<bool> ahead;
  std::vector<std::int64_t> by_library;
  EXPECT_TRUE(backend_.rehearse([&] {
    ahead.push_back(calls_->planning_ahead());
    attend();
    by_library.push_back(calls_->attentions());
  }));
  EXPECT_EQ(ahead, (std::vector{true, false}));
  EXPECT_EQ(by_library, (std::vector<std::int64_t>{0, 1}));
  EXPECT_FALSE(calls_->planning_ahead());
}

TEST_F(Rehearsal, LeavesNothingOnWhenItFails) {
  EXPECT_THROW(backend_.rehearse([] { fail(ErrorCode::kResource, "no memory"); }), Error);
  EXPECT_FALSE(calls_->planning_ahead());
  attend();
  EXPECT_EQ(calls_->attentions(), 1);
}

}  // namespace
}  // namespace seamwright::model::cuda
