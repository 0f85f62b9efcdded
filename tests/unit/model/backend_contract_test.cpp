// What every backend owes: each op against the
// double-precision reference, for any number of threads.
#include "tests/unit/model/backend_contract.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/rng.h"
#include "model/convert.h"

namespace seamwright::model::testing_support {
namespace {

std::string text(const Shape& shape) { return shape.to_string(); }

TEST_P(BackendContract, UploadAndDownloadKeepValues) {
  check("f32 host", [](Rig& rig) { return rig.activation({3, 5, 7}); });
  check("f64 host", [](Rig& rig) {
    Tensor host(heap(), DType::kF64, {2, 3});
    for (int i = 0; i < 6; ++i) host.view().as<double>()[i] = 0.25 * i - 0.5;
    return ops::upload(rig.exec, host);
  });
}

TEST_P(BackendContract, ConvolvesEveryShapeANetworkUses) {
  struct Shapes {
    std::int64_t n, h, w, in, out;
    int kernel, stride, top, left, bottom, right;
  };
  for (const Shapes& s : std::initializer_list<Shapes>{
           {1, 5, 7, 3, 5, 3, 1, 1, 1, 1, 1},        // odd everything
           {2, 8, 8, 4, 320, 3, 1, 1, 1, 1, 1},      // conv_in
           {1, 8, 8, 320, 4, 3, 1, 1, 1, 1, 1},      // conv_out
           {3, 8, 8, 64, 96, 3, 1, 1, 1, 1, 1},      // resnet
           {1, 16, 16, 128, 128, 3, 1, 1, 1, 1, 1},  // wide enough for Winograd
           {16, 4, 4, 32, 32, 3, 1, 1, 1, 1, 1},     // many frames
           {21, 4, 4, 64, 48, 3, 1, 1, 1, 1, 1},     // more than go side by side, and a rest
           {5, 7, 12, 32, 32, 3, 1, 1, 1, 1, 1},     // lines that end within a block
           {3, 16, 16, 672, 40, 3, 1, 1, 1, 1, 1},   // two super-blocks of several chunks
           {2, 8, 8, 32, 32, 3, 2, 1, 1, 1, 1},      // U-Net down
           {2, 7, 9, 32, 32, 3, 2, 1, 1, 1, 1},      // odd sizes down
           {1, 8, 8, 16, 16, 3, 2, 0, 0, 1, 1},      // VAE down
           {1, 7, 9, 16, 16, 3, 2, 0, 0, 1, 1},      // VAE down, odd
           {2, 6, 5, 48, 32, 1, 1, 0, 0, 0, 0},      // shortcut
           {1, 1, 1, 8, 8, 3, 1, 1, 1, 1, 1},        // one pixel
           {1, 1, 1, 32, 16, 3, 1, 1, 1, 1, 1},
           {1, 3, 150, 32, 48, 3, 1, 1, 1, 1, 1},  // wider than a strip
           {2, 6, 64, 32, 32, 3, 1, 1, 1, 1, 1},   // as wide as one
           {2, 3, 3, 1312, 40, 3, 1, 1, 1, 1, 1},  // more channels than a super-block
           {1, 9, 9, 3, 4, 5, 1, 2, 2, 2, 2}}) {
    const ConvSpec spec{s.in, s.out, s.kernel, s.stride, s.top, s.left, s.bottom, s.right};
    const Shape x{s.n, s.h, s.w, s.in};
    for (bool bias : {true, false}) {
      check(fmt::format("{} -> {} k{} s{} bias {}", text(x), s.out, s.kernel, s.stride, bias),
            [&](Rig& rig) {
              const auto conv = rig.conv(spec, bias);
              return ops::conv2d(rig.exec, *conv, rig.activation(x));
            });
    }
  }
}

TEST_P(BackendContract, ConvolutionAppliesItsEpilogueInOrder) {
  for (int mask = 0; mask < 32; ++mask) {
    check(fmt::format("parts {:05b}", mask), [&](Rig& rig) {
      const std::int64_t in = (mask & 16) ? 64 : 16, out = (mask & 16) ? 40 : 24;
      const auto conv = rig.conv(ConvSpec::same(in, out, 3));
      const Tensor x = rig.activation({3, 6, 5, in});
      const Tensor shared = rig.activation({out});
      const Tensor per_frame = rig.activation({3, out});
      const Tensor residual = rig.activation({3, 6, 5, out});
      Epilogue e;
      if (mask & 1) e.per_channel = (mask & 8) ? per_frame.view() : shared.view();
      if (mask & 2) e.activation = Activation::kSilu;
      if (mask & 4) e.residual = residual;
      if (mask & 8) e.last = Activation::kRelu;
      return ops::conv2d(rig.exec, *conv, x, e);
    });
  }
}

// What guidance is computed from is not rounded to bf16 where the backend can avoid it: then the
// result is as near as fp32's.
TEST_P(BackendContract, AWideResultIsNotRounded) {
  const auto backend = GetParam().make();
  const bool wider = backend->wide_type() != backend->activation_type();
  for (const bool epilogue : {false, true}) {
    check(
        epilogue ? "with an epilogue" : "plain",
        [&](Rig& rig) {
          ConvSpec spec = ConvSpec::same(96, 4, 3);
          spec.wide_result = true;
          const auto conv = rig.conv(spec);
          const Tensor x = rig.activation({3, 40, 33, 96}), per_frame = rig.activation({3, 4});
          Epilogue e;
          if (epilogue) e = {per_frame, Activation::kSilu, {}, Activation::kNone};
          Tensor y = ops::conv2d(rig.exec, *conv, x, e);
          EXPECT_EQ(y.dtype(), rig.exec.backend.wide_type());
          return y;
        },
        wider ? 1e-5 / GetParam().tolerance : 1);
  }
}

// A chain of results that are added to what came before, as a U-Net's last blocks are. Only what
// goes into a product is rounded; where a backend has no wide residuals, results are as well.
TEST_P(BackendContract, ResidualsAddUpWide) {
  const auto backend = GetParam().make();
  const bool wider = backend->wide_residuals();
  const double unrounded = wider ? 1e-5 / GetParam().tolerance : 1;
  struct Widths {
    std::int64_t in, out;
  };
  for (const auto [in, out] : {Widths{96, 320}, Widths{64, 40}, Widths{12, 8}}) {
    const Shape image{3, 9, 7, in};
    const auto residual_of = [&](Rig& rig) {
      const auto shortcut = rig.linear(in, out);
      return ops::linear(rig.exec, *shortcut, rig.activation(image), {}, ops::Result::kWide);
    };
    for (const bool activated : {false, true}) {
      const Activation last = activated ? Activation::kRelu : Activation::kNone;
      const auto name = fmt::format("{} -> {}{}", in, out, activated ? ", activated" : "");
      check(
          "linear " + name,
          [&](Rig& rig) {
            const Tensor residual = residual_of(rig);
            const Backend& b = rig.exec.backend;
            EXPECT_EQ(residual.dtype(), b.wide_residuals() ? b.wide_type() : b.activation_type());
            const auto linear = rig.linear(in, out);
            return ops::linear(rig.exec, *linear, rig.activation(image),
                               {.residual = residual, .last = last}, ops::Result::kWide);
          },
          unrounded);
      check(
          "conv2d " + name,
          [&](Rig& rig) {
            ConvSpec spec = ConvSpec::same(in, out, 3);
            spec.wide_result = rig.exec.backend.wide_residuals();
            const auto conv = rig.conv(spec);
            const Tensor residual = residual_of(rig), per_frame = rig.activation({3, out});
            return ops::conv2d(rig.exec, *conv, rig.activation(image),
                               {per_frame, Activation::kNone, residual, last});
          },
          unrounded);
      check("group_norm " + name, [&](Rig& rig) {
        const auto norm = rig.norm(out);
        return ops::group_norm(rig.exec, *norm, 4,
                               activated ? NormExtent::kAcrossFrames : NormExtent::kPerFrame,
                               activated ? Activation::kSilu : Activation::kNone, residual_of(rig));
      });
    }
  }
}

TEST_P(BackendContract, LinearHandlesEveryRankAndWidth) {
  for (const Shape& x :
       {Shape{3}, Shape{1, 320}, Shape{77, 768}, Shape{2, 9, 40}, Shape{2, 3, 5, 33},
        Shape{1, 1, 1280}, Shape{300, 64}, Shape{530, 96}, Shape{40, 2592}}) {
    for (std::int64_t out : {1, 7, 24, 320}) {
      // A result of one number may lie near zero, where its error is that of the larger terms.
      const bool one = x.elements() == x.last() && out == 1;
      check(
          fmt::format("{} -> {}", text(x), out),
          [&](Rig& rig) {
            const auto linear = rig.linear(x.last(), out, out != 7);
            return ops::linear(rig.exec, *linear, rig.activation(x));
          },
          one ? 4 : 1);
    }
  }
}

TEST_P(BackendContract, LinearAppliesItsEpilogueInOrder) {
  for (Activation a : {Activation::kNone, Activation::kSilu, Activation::kRelu, Activation::kGelu,
                       Activation::kQuickGelu}) {
    for (int mask = 0; mask < 16; ++mask) {
      check(fmt::format("activation {} parts {:04b}", static_cast<int>(a), mask), [&](Rig& rig) {
        const std::int64_t in = (mask & 8) ? 96 : 24;
        const auto linear = rig.linear(in, 40);
        const Tensor x = rig.activation({2, 9, in});
        const Tensor rows = rig.activation({2, 40}), row = rig.activation({40});
        const Tensor residual = rig.activation({2, 9, 40});
        Epilogue e;
        e.activation = a;
        if (mask & 1) e.per_channel = (mask & 4) ? rows.view() : row.view();
        if (mask & 2) e.residual = residual;
        if (mask & 4) e.last = Activation::kRelu;
        return ops::linear(rig.exec, *linear, x, e);
      });
    }
  }
}

TEST_P(BackendContract, GegluTakesTheFirstHalfAsValue) {
  for (const Shape& x : {Shape{1, 1, 8}, Shape{2, 35, 40}, Shape{1, 64, 320}, Shape{3, 100, 32}}) {
    check(
        text(x),
        [&](Rig& rig) {
          const auto linear = rig.geglu(x.last(), 4 * x.last());
          return ops::geglu(rig.exec, *linear, rig.activation(x));
        },
        GetParam().geglu_factor);
  }
}

TEST_P(BackendContract, GroupNormCoversFramesGroupsAndActivation) {
  struct Shapes {
    Shape x;
    int groups;
  };
  for (const Shapes& s : std::initializer_list<Shapes>{{{1, 4, 4, 32}, 32},
                                                       {{5, 3, 2, 8}, 4},
                                                       {{2, 7, 5, 96}, 32},
                                                       {{16, 4, 4, 320}, 32},
                                                       {{1, 1, 3, 12}, 1},
                                                       {{2, 33, 31, 64}, 32}}) {
    for (NormExtent extent : {NormExtent::kPerFrame, NormExtent::kAcrossFrames}) {
      for (Activation a : {Activation::kNone, Activation::kSilu}) {
        check(fmt::format("{} groups {} across {} silu {}", text(s.x), s.groups,
                          extent == NormExtent::kAcrossFrames, a == Activation::kSilu),
              [&](Rig& rig) {
                const auto norm = rig.norm(s.x.last(), 1e-6);
                return ops::group_norm(rig.exec, *norm, s.groups, extent, a,
                                       rig.activation(s.x, 2, 0.5));
              });
      }
    }
  }
}

TEST_P(BackendContract, NormsSurviveALargeMean) {
  check(
      "group norm",
      [](Rig& rig) {
        const auto norm = rig.norm(32);
        return ops::group_norm(rig.exec, *norm, 8, NormExtent::kPerFrame, Activation::kNone,
                               rig.activation({2, 16, 16, 32}, 1, 100));
      },
      20);
  check(
      "layer norm",
      [](Rig& rig) {
        const auto norm = rig.norm(320);
        return ops::layer_norm(rig.exec, *norm, rig.activation({2, 9, 320}, 1, 100));
      },
      20);
}

TEST_P(BackendContract, LayerNormAddsThePositionOfTheOutermostIndex) {
  for (const Shape& x : {Shape{1, 1, 8}, Shape{5, 6, 40}, Shape{16, 3, 320}, Shape{7, 33}}) {
    for (bool position : {false, true}) {
      check(fmt::format("{} position {}", text(x), position), [&](Rig& rig) {
        const auto norm = rig.norm(x.last());
        const Tensor value = rig.activation(x);
        const Tensor pe = rig.activation({x[0], x.last()});
        return ops::layer_norm(rig.exec, *norm, value, position ? pe.view() : ConstView{});
      });
    }
  }
}

TEST_P(BackendContract, AttentionHandlesEveryHeadSize) {
  for (std::int64_t d : {1, 8, 40, 64, 80, 160, 512}) {
    for (std::int64_t s : {1, 9, 70}) {
      check(fmt::format("head {} queries {}", d, s), [&](Rig& rig) {
        const std::int64_t heads = d == 512 ? 1 : 2;
        const Tensor q = rig.activation({2, s, heads * d});
        const Tensor k = rig.activation({2, s, heads * d});
        const Tensor v = rig.activation({2, s, heads * d});
        return ops::attention(rig.exec, static_cast<int>(heads), false, q, k, v);
      });
    }
  }
}

TEST_P(BackendContract, AttentionSharesKeysBetweenFrames) {
  for (std::int64_t frames : {1, 3}) {
    for (std::int64_t batch : {std::int64_t{1}, frames}) {
      for (std::int64_t keys : {1, 4, 77}) {
        check(fmt::format("frames {} key rows {} keys {}", frames, batch, keys), [&](Rig& rig) {
          const Tensor q = rig.activation({frames, 20, 80});
          const Tensor k = rig.activation({batch, keys, 80});
          const Tensor v = rig.activation({batch, keys, 80});
          return ops::attention(rig.exec, 8, false, q, k, v);
        });
      }
    }
  }
}

TEST_P(BackendContract, CausalAttentionSeesOnlyThePast) {
  for (std::int64_t s : {1, 5, 77, 130}) {
    check(fmt::format("tokens {}", s), [&](Rig& rig) {
      const Tensor q = rig.activation({1, s, 64}), k = rig.activation({1, s, 64});
      return ops::attention(rig.exec, 4, true, q, k, rig.activation({1, s, 64}));
    });
  }
}

TEST_P(BackendContract, AttentionSurvivesLargeScoresAndManyKeys) {
  check(
      "sharp",
      [](Rig& rig) {
        const Tensor q = rig.activation({1, 33, 40}, 12), k = rig.activation({1, 33, 40}, 12);
        return ops::attention(rig.exec, 1, false, q, k, rig.activation({1, 33, 40}));
      },
      20);
  check(
      "sharp, many keys",
      [](Rig& rig) {
        const Tensor q = rig.activation({1, 300, 40}, 6), k = rig.activation({1, 530, 40}, 6);
        return ops::attention(rig.exec, 1, false, q, k, rig.activation({1, 530, 40}));
      },
      20);
  check("many keys", [](Rig& rig) {
    const Tensor q = rig.activation({1, 600, 40}), k = rig.activation({1, 600, 40});
    return ops::attention(rig.exec, 1, false, q, k, rig.activation({1, 600, 40}));
  });
}

// Columns [at, at + width) of x [N, S, C].
Tensor columns(Rig& rig, const Tensor& x, std::int64_t at, std::int64_t width) {
  const auto values = values_of(rig.exec.backend, x);
  const std::int64_t channels = x.shape().last();
  Tensor host(heap(), DType::kF64, {x.shape()[0], x.shape()[1], width});
  for (std::int64_t i = 0; i < host.view().elements(); ++i) {
    host.view().as<double>()[i] =
        values[static_cast<std::size_t>(i / width * channels + at + i % width)];
  }
  return ops::upload(rig.exec, host);
}

// Queries, keys and values side by side, or apart for a backend that does not join them.
TEST_P(BackendContract, SelfAttentionTakesJoinedProjections) {
  for (const bool over_frames : {false, true}) {
    for (std::int64_t d : {1, 8, 40, 64, 160}) {
      for (std::int64_t s : {1, 9, 70}) {
        check(fmt::format("over frames {} head {} rows {}", over_frames, d, s), [&](Rig& rig) {
          const std::int64_t heads = 2, c = heads * d, frames = over_frames ? 5 : 2;
          const Tensor qkv = rig.activation({frames, s, 3 * c});
          if (rig.exec.backend.joined_projections()) {
            return over_frames ? ops::temporal_self_attention(rig.exec, heads, qkv)
                               : ops::self_attention(rig.exec, heads, qkv);
          }
          const Tensor q = columns(rig, qkv, 0, c), k = columns(rig, qkv, c, c),
                       v = columns(rig, qkv, 2 * c, c);
          return over_frames ? ops::temporal_attention(rig.exec, heads, q, k, v)
                             : ops::attention(rig.exec, heads, false, q, k, v);
        });
      }
    }
  }
}

TEST_P(BackendContract, TemporalAttentionHandlesEveryWindow) {
  for (std::int64_t frames : {1, 2, 5, 16, 24, 31, 32}) {
    for (std::int64_t d : {1, 8, 40, 160}) {
      check(fmt::format("frames {} head {}", frames, d), [&](Rig& rig) {
        const Shape shape{frames, 6, 8 * d};
        const Tensor q = rig.activation(shape), k = rig.activation(shape);
        return ops::temporal_attention(rig.exec, 8, q, k, rig.activation(shape));
      });
    }
  }
}

}  // namespace

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(BackendContract);

}  // namespace seamwright::model::testing_support
