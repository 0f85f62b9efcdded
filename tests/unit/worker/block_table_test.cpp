// Stages of the full-size public network, without its weights.
#include "worker/block_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <sstream>

#include "model/dry/shape_source.h"
#include "model/nets/unet.h"

namespace seamwright::worker {
namespace {

using Shapes = std::map<std::string, model::Shape, std::less<>>;

// Lines of "name [4, 4, 3, 3]".
Shapes read_keys(const std::string& name) {
  std::ifstream file(std::string(SEAMWRIGHT_FIXTURES) + "/keys/keys_" + name + ".txt");
  EXPECT_TRUE(file.is_open()) << name;
  Shapes shapes;
  for (std::string line; std::getline(file, line);) {
    const auto space = line.find_first_of(" \t");
    std::string digits = line.substr(space);
    for (char& c : digits) c = std::isdigit(static_cast<unsigned char>(c)) ? c : ' ';
    std::istringstream in(digits);
    std::vector<std::int64_t> dims;
    for (std::int64_t d = 0; in >> d;) dims.push_back(d);
    shapes.emplace(line.substr(0, space), model::Shape(dims));
  }
  return shapes;
}

// Stable Diffusion 1.5 with the v3 adapter, 16 frames at 512x512 in two-byte activations.
std::vector<scheduling::PartitionBlock> full_size() {
  const auto backend = model::make_dry_backend(model::DType::kBF16);
  const model::ShapeSource unet_source(read_keys("unet2d_sd15"), "unet keys");
  const model::ShapeSource adapter_source(read_keys("adapter_v3"), "adapter keys");
  model::WeightLedger unet_ledger(unet_source);
  model::WeightLedger adapter_ledger(adapter_source);
  model::LoadContext unet{unet_ledger, *backend};
  model::LoadContext adapter{adapter_ledger, *backend};
  model::UNetConfig config;
  config.motion.emplace();
  config.motion->use_mid_block = false;
  const model::UNet network(config, unet, &adapter);
  return block_table(network, *backend, {}, {.flops_per_s = 600e12, .bytes_per_s = 4e12});
}

TEST(BlockTable, FoldedStagesOfTheFullNetworkMoveAQuarterToAThird) {
  const auto blocks = full_size();
  double total = 0;
  for (const auto& block : blocks) total += block.seconds;
  // Three stages have to cut at the widest level to be even; where they may be less even, the fold
  // finds the narrow places.
  struct Case {
    int stages;
    double tolerance;
    double share;
  };
  for (const auto& [stages, tolerance, share] :
       {Case{3, 0.3, 0.25}, Case{4, 0.05, 0.25}, Case{5, 0.1, 0.34}, Case{6, 0.05, 0.34}}) {
    scheduling::PartitionRequest request;
    request.stages = stages;
    request.tolerance = tolerance;
    const auto consecutive = scheduling::partition_stages(blocks, request);
    request.folded = true;
    const auto folded = scheduling::partition_stages(blocks, request);
    EXPECT_LT(static_cast<double>(folded.total_cut_bytes),
              share * static_cast<double>(consecutive.total_cut_bytes))
        << stages << " stages";
    EXPECT_LT(folded.slowest_stage_s, (1.05 + tolerance) * total / stages) << stages << " stages";
    if (stages == 3) {
      EXPECT_NEAR(static_cast<double>(folded.total_cut_bytes), 47.2e6, 0.1e6);
    }
  }
}

// Where a link is slow, a cut that is even in compute waits for it: 126 to 131 MB take 25 Gbit
// Ethernet 43 to 45 ms, a third of the network's compute 11.
TEST(BlockTable, ASlowLinkMovesCutsToNarrowPlaces) {
  const auto blocks = full_size();
  constexpr double kEthernet = 2.9e9;
  scheduling::PartitionRequest request;
  request.stages = 3;
  request.folded = true;
  const auto blind = scheduling::partition_stages(blocks, request);
  request.link_bytes_per_s = kEthernet;
  const auto seeing = scheduling::partition_stages(blocks, request);
  const auto time_of = [&](const scheduling::Partition& p) {
    return std::max(p.slowest_stage_s, static_cast<double>(p.busiest_link_bytes) / kEthernet);
  };
  EXPECT_LT(time_of(seeing), 0.4 * time_of(blind));
  EXPECT_LT(seeing.total_cut_bytes, 40'000'000);
  // Over a fast one nothing changes.
  request.link_bytes_per_s = 300e9;
  EXPECT_EQ(scheduling::partition_stages(blocks, request).bounds, blind.bounds);
}

TEST(BlockTable, ACutThroughTheMiddleIsMostlySkips) {
  const auto blocks = full_size();
  const auto middle = std::find_if(blocks.begin(), blocks.end(), [](const auto& block) {
    return block.name.starts_with("mid_block");
  });
  ASSERT_NE(middle, blocks.end());
  const auto at = static_cast<std::size_t>(middle - blocks.begin());
  const auto cut = scheduling::describe_partition(blocks, 2, false, {0, at, blocks.size()});
  EXPECT_GT(cut.cut_bytes[0], 190'000'000);  // the design counts 194 to 215 MB in fp16
  EXPECT_LT(cut.cut_bytes[0], 220'000'000);
  EXPECT_EQ(cut.sends[0].size(), 12U);  // twelve skips, the last of which the middle reads too
}

}  // namespace
}  // namespace seamwright::worker
