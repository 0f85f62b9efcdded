// Folder-private: the order of a U-Net's blocks, with what each reads and writes and how to build
// it, before any weight is touched.
// Threads: plain values.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/configs.h"
#include "model/nets/unet_blocks.h"

namespace seamwright::model {

struct PlannedBlock {
  std::string name;
  std::vector<std::string> reads, writes;
  bool from_adapter = false;  // a motion module: its weights may lie in an adapter's files
  std::function<std::unique_ptr<UNetBlock>(const Scope& root)> build;
};

// Throws kInvalidArgument where the config does not describe a U-Net.
std::vector<PlannedBlock> plan_unet(const UNetConfig& config, NormExtent motion_norm);

}  // namespace seamwright::model
