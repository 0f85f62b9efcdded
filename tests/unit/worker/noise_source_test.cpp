// Every draw of a job: which frame, purpose and level it belongs to, and FreeNoise's sources.
#include "worker/noise_source.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "scheduling/freenoise.h"

namespace seamwright::worker {
namespace {

using Draw = std::function<void(const NoiseSource&, std::int64_t frame, std::span<float> out)>;

struct Kind {
  std::string name;
  Draw draw;
};

void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

NoiseOptions options(bool freenoise) {
  NoiseOptions o;
  o.seed = 41;
  o.frames = 64;
  o.freenoise = freenoise;
  return o;
}

std::vector<float> drawn(const Kind& kind, const NoiseSource& source, std::int64_t frame) {
  std::vector<float> out(static_cast<std::size_t>(4 * 8 * 8));
  kind.draw(source, frame, out);
  return out;
}

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all{
      {"initial", [](const auto& s, auto frame, auto out) { s.initial(frame, out); }},
      {"sampler0", [](const auto& s, auto frame, auto out) { s.sampler(frame, 0, out); }},
      {"sampler3", [](const auto& s, auto frame, auto out) { s.sampler(frame, 3, out); }},
      {"resample0", [](const auto& s, auto frame, auto out) { s.resample(frame, 0, 1, out); }},
      {"resample3", [](const auto& s, auto frame, auto out) { s.resample(frame, 3, 1, out); }},
      {"round2", [](const auto& s, auto frame, auto out) { s.resample(frame, 3, 2, out); }}};
  return all;
}

class NoiseSourceDraws : public testing::TestWithParam<Kind> {};

TEST_P(NoiseSourceDraws, DiffersFromFrameToFrame) {
  const NoiseSource source(options(false));
  std::set<std::vector<float>> seen;
  for (int frame = 0; frame < 64; ++frame) seen.insert(drawn(GetParam(), source, frame));
  EXPECT_EQ(seen.size(), 64U);
}

// Not the initial noise alone: a stochastic sampler or a resampling round would otherwise wash out
// what far apart windows have in common.
TEST_P(NoiseSourceDraws, IsItsSourcesWithFreeNoise) {
  const NoiseSource free(options(true));
  const NoiseSource independent(options(false));
  int moved = 0;
  for (int frame = 0; frame < 64; ++frame) {
    const int from = scheduling::freenoise_source(frame, 16, 4, 41);
    moved += from != frame % 16;
    EXPECT_EQ(drawn(GetParam(), free, frame), drawn(GetParam(), independent, from)) << frame;
  }
  EXPECT_GT(moved, 20);
}

INSTANTIATE_TEST_SUITE_P(Every, NoiseSourceDraws, testing::ValuesIn(kinds()),
                         [](const auto& info) { return info.param.name; });

TEST(NoiseSource, DrawsForEveryPurposeLevelAndRoundOfItsOwn) {
  const NoiseSource source(options(false));
  std::set<std::vector<float>> seen;
  for (const auto& kind : kinds()) seen.insert(drawn(kind, source, 5));
  EXPECT_EQ(seen.size(), kinds().size());
}

}  // namespace
}  // namespace seamwright::worker
