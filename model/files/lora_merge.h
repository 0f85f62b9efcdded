// Weights with LoRA products added: merged in fp32 when a loader asks for them, so that what runs
// afterwards knows nothing of LoRA and costs the same.
// Threads: find may be called from any thread.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/files/lora_file.h"
#include "model/weights.h"

namespace seamwright::model {

struct LoraChoice {
  std::filesystem::path file;
  double scale = 1;
};

// The sources a LoRA may change; null where a part is absent.
struct LoraTargets {
  std::shared_ptr<const WeightSource>* unet = nullptr;
  std::shared_ptr<const WeightSource>* motion = nullptr;
  std::shared_ptr<const WeightSource>* text = nullptr;
};

// Replaces each source by one with the products of all files added, in the order given. Throws
// kCorrupt listing every key that fits no layer, and where shapes differ.
void merge_loras(const std::vector<LoraChoice>& loras, const LoraTargets& targets);

// base + the sum of products. The merged tensors are made once and live as long as the source.
class MergedSource final : public WeightSource {
 public:
  struct Product {
    ConstView down, up;
    double scale = 1;
  };
  using Products = std::map<std::string, std::vector<Product>, std::less<>>;  // by tensor name

  MergedSource(std::shared_ptr<const WeightSource> base, Products products,
               std::vector<std::shared_ptr<const WeightSource>> kept);

  std::optional<ConstView> find(std::string_view name) const override;
  std::vector<std::string> names() const override { return base_->names(); }
  std::string description() const override { return base_->description(); }

 private:
  std::shared_ptr<const WeightSource> base_;
  Products products_;
  std::vector<std::shared_ptr<const WeightSource>> kept_;  // what the products' views point into
  mutable std::mutex mutex_;
  mutable std::map<std::string, Tensor, std::less<>> merged_;
};

}  // namespace seamwright::model
