// What every backend owes: the ops that move and change single elements, and pixels' bytes.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/rng.h"
#include "model/convert.h"
#include "tests/unit/model/backend_contract.h"

namespace seamwright::model::testing_support {
namespace {

TEST_P(BackendContract, ElementwiseOpsTouchEveryElement) {
  for (const Shape& x : {Shape{1}, Shape{3, 5, 7}, Shape{2, 16, 16, 33}}) {
    check("add " + x.to_string(), [&](Rig& rig) {
      const Tensor a = rig.activation(x);
      return ops::add(rig.exec, a, rig.activation(x));
    });
    for (Activation a :
         {Activation::kSilu, Activation::kRelu, Activation::kGelu, Activation::kQuickGelu}) {
      check(fmt::format("activation {} {}", static_cast<int>(a), x.to_string()),
            [&](Rig& rig) { return ops::activate(rig.exec, a, rig.activation(x, 3)); });
    }
    check("soft clamp " + x.to_string(),
          [&](Rig& rig) { return ops::soft_clamp(rig.exec, 3, rig.activation(x, 4)); });
    check("affine " + x.to_string(),
          [&](Rig& rig) { return ops::affine(rig.exec, 2, -0.75, rig.activation(x)); });
  }
}

TEST_P(BackendContract, ConcatKeepsTheOrderOfChannels) {
  for (auto [a, b] : {std::pair{1, 1}, {3, 5}, {64, 32}, {33, 320}}) {
    check(fmt::format("{} + {}", a, b), [&, a = a, b = b](Rig& rig) {
      const Tensor first = rig.activation({2, 3, 5, a});
      return ops::concat_channels(rig.exec, first, rig.activation({2, 3, 5, b}));
    });
  }
}

TEST_P(BackendContract, UpsamplesToAnySize) {
  for (auto [h, w] : {std::pair{6, 10}, {5, 9}, {6, 9}, {3, 5}, {12, 20}}) {
    check(fmt::format("to {}x{}", h, w), [&, h = h, w = w](Rig& rig) {
      return ops::upsample_nearest(rig.exec, rig.activation({2, 3, 5, 24}), h, w);
    });
  }
}

// Values at which a conversion to bytes can go wrong: ties, ends, what is no number; and numbers.
std::vector<float> awkward_pixels() {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  std::vector<float> all{-1,   1,     0,      -0.0F, -7,     7,       0.1F, std::nanf(""),
                         kInf, -kInf, 1e-40F, 1e38F, -1e38F, -1e-40F, 0.5F, -std::nanf("")};
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<float>(i) / 127.5F - 1.0F);
  for (int i = 0; i < 255; ++i) {  // about halfway between two bytes
    const float tie = (static_cast<float>(i) + 0.5F) / 127.5F - 1.0F;
    all.insert(all.end(), {std::nextafter(tie, -2.0F), tie, std::nextafter(tie, 2.0F)});
  }
  std::vector<float> drawn(5000);
  fill_normal({.seed = 3, .purpose = NoisePurpose::kTest}, drawn);
  all.insert(all.end(), drawn.begin(), drawn.end());
  return all;
}

TEST_P(BackendContract, PixelsBecomeTheSameBytesEverywhere) {
  const auto values = awkward_pixels();
  for (int threads : {1, 3}) {
    const auto backend = GetParam().make();
    backend->set_threads(threads);
    for (const bool wide : {false, true}) {
      const DType type = wide ? backend->wide_type() : backend->activation_type();
      for (const std::int64_t count : {std::int64_t{1}, std::int64_t{3}, std::int64_t{4095},
                                       static_cast<std::int64_t>(values.size())}) {
        SCOPED_TRACE(fmt::format("{} values of {}, {} threads", count, to_string(type), threads));
        const ConstView host{values.data(), DType::kF32, {count}};
        const Tensor stored = converted(converted(host, type), DType::kF32);
        Exec exec{*backend, backend->memory()};
        Tensor x(exec.arena, type, {count});
        backend->upload(stored, x);
        const Tensor y = ops::pixels_to_rgb8(exec, x);
        ASSERT_EQ(y.dtype(), DType::kU8);
        ASSERT_EQ(y.shape(), x.shape());
        std::vector<std::uint8_t> expected, got(static_cast<std::size_t>(count), 77);
        for (std::int64_t i = 0; i < count; ++i) {
          const double unit = std::clamp(stored.view().as<float>()[i] / 2.0F + 0.5F, 0.0F, 1.0F);
          const bool number = !std::isnan(stored.view().as<float>()[i]);
          expected.push_back(
              number ? static_cast<std::uint8_t>(std::nearbyint(static_cast<float>(unit) * 255.0F))
                     : std::uint8_t{0});
        }
        backend->copy_out(y, std::as_writable_bytes(std::span(got)));
        EXPECT_EQ(got, expected);
        std::fill(got.begin(), got.end(), std::uint8_t{77});
        const auto on_its_way = backend->read_back(y, std::as_writable_bytes(std::span(got)));
        if (on_its_way) on_its_way->wait();
        EXPECT_EQ(got, expected) << "read back";
      }
    }
  }
}

TEST_P(BackendContract, TheSameBytesComeBackWhateverFollows) {
  const auto backend = GetParam().make();
  Exec exec{*backend, backend->memory()};
  std::vector<std::vector<std::uint8_t>> got(5, std::vector<std::uint8_t>(301));
  std::vector<std::unique_ptr<Readback>> under_way;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const std::vector<float> values(301, static_cast<float>(i * 10) / 127.5F - 1.0F);
    const Tensor y =
        ops::pixels_to_rgb8(exec, ops::upload(exec, ConstView{values.data(), DType::kF32, {301}}));
    under_way.push_back(backend->read_back(y, std::as_writable_bytes(std::span(got[i]))));
  }
  under_way[1].reset();  // nobody wants it any more
  for (const std::size_t i : {4U, 0U, 3U, 2U}) {
    if (under_way[i]) under_way[i]->wait();
    if (under_way[i]) under_way[i]->wait();  // once more is no harm
    const int expected = static_cast<int>(i) * 10;
    EXPECT_NEAR(got[i].front(), expected, 1) << i;  // 16 bits hold the value roughly
    EXPECT_EQ(got[i], std::vector<std::uint8_t>(301, got[i].front())) << i;
  }
}

TEST_P(BackendContract, GathersRows) {
  check("rows", [](Rig& rig) {
    const std::vector<std::int32_t> ids = {9, 0, 3, 3, 1};
    return ops::gather_rows(rig.exec, rig.activation({10, 48}), ids);
  });
}

}  // namespace
}  // namespace seamwright::model::testing_support
