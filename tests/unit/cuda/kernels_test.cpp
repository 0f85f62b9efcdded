// The emulated grid itself, and what the op contract does not reach: large shapes' index
// arithmetic, long sequences, and results that must not depend on the order in which threads run.
#include "model/cuda/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/rng.h"
#include "model/convert.h"
#include "model/cuda/kernels/emulated.h"
#include "model/cuda/kernels/indices.h"
#include "model/cuda/kernels/numbers.h"

namespace seamwright::model::cuda {
namespace {

// Restores the order in which threads take turns.
struct Backwards {
  Backwards() { emulated::set_backwards(true); }
  ~Backwards() { emulated::set_backwards(false); }
};

void uneven_kernel() {
  if (thread_index() == 0) sync_block();
}
void short_warp_kernel() {
  if (thread_index() % 32 < 16) sync_warp();
}

TEST(EmulatedGrid, SeesThreadsThatDoNotMeet) {
  EXPECT_THROW(launch(&uneven_kernel, {1}, 64, 0, nullptr), Error);
  EXPECT_THROW(launch(&short_warp_kernel, {1}, 64, 0, nullptr), Error);
}

// A product of known matrices through fragments laid out as PTX says.
void fragments_kernel(const std::uint16_t* a, const std::uint16_t* b, float* c) {
  auto* shared = shared_memory<std::uint16_t>();
  const int lane = thread_index();
  for (int i = lane; i < 256; i += 32) shared[i] = a[i];
  for (int i = lane; i < 128; i += 32) shared[256 + i] = b[i];  // [8 columns][16]
  sync_warp();
  std::uint32_t left[4], right[4];
  load_matrices(left, shared + lane % 16 * 16 + lane / 16 * 8);
  load_matrices(right, shared + 256 + lane % 8 * 16 + lane / 8 % 2 * 8);
  float sums[4] = {};
  multiply_fragments<Bf16>(sums, left, right[0], right[1]);
  for (int i = 0; i < 4; ++i) {
    c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
  }
}

TEST(EmulatedGrid, MultipliesFragmentsAsMatrices) {
  std::vector<std::uint16_t> a(256), b(128);
  for (int i = 0; i < 256; ++i) a[static_cast<std::size_t>(i)] = float_to_bf16(float(i % 7 - 3));
  for (int i = 0; i < 128; ++i) b[static_cast<std::size_t>(i)] = float_to_bf16(float(i % 5 - 2));
  std::vector<float> c(128);
  launch(&fragments_kernel, {1}, 32, 1024, nullptr, a.data(), b.data(), c.data());
  for (int r = 0; r < 16; ++r) {
    for (int n = 0; n < 8; ++n) {
      float sum = 0;
      for (int k = 0; k < 16; ++k) sum += float((r * 16 + k) % 7 - 3) * float((n * 16 + k) % 5 - 2);
      EXPECT_EQ(c[static_cast<std::size_t>(r * 8 + n)], sum) << r << "," << n;
    }
  }
}

std::vector<std::uint16_t> drawn(std::int64_t count, std::int64_t number) {
  std::vector<float> values(static_cast<std::size_t>(count));
  fill_normal({.seed = 5, .purpose = NoisePurpose::kTest, .frame = number}, values);
  std::vector<std::uint16_t> bits;
  for (const float v : values) bits.push_back(float_to_bf16(v));
  return bits;
}

TEST(Kernels, TiledAttentionDoesNotDependOnTheOrderOfThreads) {
  // Several tiles of keys, a partial last one, several blocks of queries.
  AttentionCall call;
  call.n = 1;
  call.queries = 200;
  call.keys = 150;
  call.heads = 2;
  call.head_size = 40;
  const std::int64_t c = 80;
  call.row = c;
  const auto q = drawn(call.queries * c, 1), k = drawn(call.keys * c, 2),
             v = drawn(call.keys * c, 3);
  const auto run = [&] {
    std::vector<std::uint16_t> y(q.size(), 0xFFFF);
    call.q = q.data();
    call.k = k.data();
    call.v = v.data();
    call.y = y.data();
    attend_in_tiles(Element::kBf16, call, nullptr);
    return y;
  };
  const auto forwards = run();
  const Backwards order;
  EXPECT_EQ(run(), forwards);
}

TEST(Kernels, GroupNormDoesNotDependOnTheOrderOfThreads) {
  GroupNormCall call;
  call.runs = 2;
  call.rows = 900;  // several chunks
  call.channels = 320;
  call.groups = 32;
  call.eps = 1e-5F;
  const auto x = drawn(call.runs * call.rows * call.channels, 4);
  const std::vector<float> scale(320, 1.5F), shift(320, -0.25F);
  std::vector<float> scratch(static_cast<std::size_t>(group_norm_scratch(call)));
  const auto run = [&] {
    std::vector<std::uint16_t> y(x.size(), 0xFFFF);
    call.x = x.data();
    call.y = y.data();
    call.scale = scale.data();
    call.shift = shift.data();
    group_norm(Element::kBf16, call, scratch.data(), nullptr);
    return y;
  };
  const auto forwards = run();
  const Backwards order;
  EXPECT_EQ(run(), forwards);
}

TEST(Indices, PatchesOfALargeVideoStayWithin64Bits) {
  // 2^31 and more elements: 64 frames of 1024x1024 with 512 channels.
  const PatchShape s{1024, 1024, 512, 1024, 1024, 3, 1, 1, 1};
  const std::int64_t last_row = 64LL * 1024 * 1024 - 1;
  const std::int64_t centre = 4 * 512;  // tap (1, 1)
  EXPECT_EQ(patch_source(s, last_row, centre + 511), 64LL * 1024 * 1024 * 512 - 1);
  EXPECT_EQ(patch_source(s, last_row, 8 * 512), -1);  // below and right of the last pixel
  EXPECT_EQ(patch_source(s, 0, 0), -1);
}

TEST(Indices, NearestSourceCoversEveryPixelOfOddSizes) {
  for (std::int64_t out : {5, 7, 9, 10}) {
    std::vector<int> seen(25, 0);
    for (std::int64_t i = 0; i < out * out; ++i) {
      ++seen[static_cast<std::size_t>(nearest_source(i, 5, 5, out, out))];
    }
    for (int count : seen) EXPECT_GT(count, 0) << "to " << out;
  }
}

TEST(Numbers, RoundToNearestEven) {
  EXPECT_EQ(from_float<Bf16>(1.00390625F).bits, 0x3F80);  // half way: to even
  EXPECT_EQ(from_float<Bf16>(1.01171875F).bits, 0x3F82);
  EXPECT_EQ(pack_two<Bf16>(1.0F, -2.0F), 0xC0003F80U);
  EXPECT_EQ(to_float(from_float<Half>(0.333251953125F)), 0.333251953125F);
}

// What the choice among a product's algorithms rests on.
TEST(TrialKernels, FindOneByteThatDiffers) {
  std::vector<std::uint32_t> a(1000, 7), b = a;
  std::int32_t differs = 5;
  compare_bytes(a.data(), b.data(), 4000, &differs, nullptr);
  EXPECT_EQ(differs, 0);
  for (const std::size_t at : {std::size_t{0}, std::size_t{500}, std::size_t{999}}) {
    b = a;
    b[at] = 8;
    compare_bytes(a.data(), b.data(), 4000, &differs, nullptr);
    EXPECT_EQ(differs, 1) << at;
  }
  // An odd number of 16-bit results: the last one counts, what lies behind it does not.
  b = a;
  b.back() ^= 0x00010000U;
  compare_bytes(a.data(), b.data(), 3998, &differs, nullptr);
  EXPECT_EQ(differs, 0);
  b.back() ^= 0x00000001U;
  compare_bytes(a.data(), b.data(), 3998, &differs, nullptr);
  EXPECT_EQ(differs, 1);
}

TEST(TrialKernels, FillWithNumbersThatFollowFromTheSeed) {
  std::vector<float> a(1000), b(1000), c(1000);
  fill_with_numbers(Element::kF32, a.data(), 1000, 1, nullptr);
  fill_with_numbers(Element::kF32, b.data(), 1000, 1, nullptr);
  fill_with_numbers(Element::kF32, c.data(), 1000, 2, nullptr);
  EXPECT_EQ(a, b);
  EXPECT_NE(a, c);
  float least = 1, most = -1, sum = 0;
  for (const float x : a) {
    least = std::min(least, x);
    most = std::max(most, x);
    sum += x;
  }
  EXPECT_GE(least, -1);
  EXPECT_LT(least, -0.9F);
  EXPECT_GT(most, 0.9F);
  EXPECT_LT(most, 1);
  EXPECT_LT(std::abs(sum / 1000), 0.1F);
}

}  // namespace
}  // namespace seamwright::model::cuda
