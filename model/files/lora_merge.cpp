#include "model/files/lora_merge.h"

#include <algorithm>
#include <span>

#include "base/error.h"
#include "base/quoted.h"
#include "model/checkpoint_files.h"
#include "model/convert.h"
#include "model/files/file_kind.h"
#include "model/files/original_names.h"
#include "model/files/pickle.h"

namespace seamwright::model {
namespace {

// weight [out, n] += scale * up [out, rank] x down [rank, n]. One order of additions, whatever the
// machine's number of threads.
void add_product(std::span<float> weight, const MergedSource::Product& product) {
  const Tensor down = converted(product.down, DType::kF32), up = converted(product.up, DType::kF32);
  const auto rank = static_cast<std::size_t>(product.down.shape[0]);
  const auto out = static_cast<std::size_t>(product.up.shape[0]);
  const std::size_t n = weight.size() / out;
  const float* a = up.view().as<float>();
  const float* b = down.view().as<float>();
  std::vector<float> row(n);
  for (std::size_t o = 0; o < out; ++o) {
    std::fill(row.begin(), row.end(), 0.0F);
    for (std::size_t r = 0; r < rank; ++r) {
      const float factor = a[o * rank + r];
      const float* line = b + r * n;
      for (std::size_t i = 0; i < n; ++i) row[i] += factor * line[i];
    }
    const auto scale = static_cast<float>(product.scale);
    float* to = weight.data() + o * n;
    for (std::size_t i = 0; i < n; ++i) to[i] += scale * row[i];
  }
}

std::string joined(std::string_view path) {
  std::string out(path);
  std::ranges::replace(out, '.', '_');
  return out;
}

// Every layer of one source by its path, and by its path joined with "_".
class Layers {
 public:
  Layers(const WeightSource* source, LoraPart part) {
    if (source == nullptr) return;
    for (const auto& name : source->names()) {
      constexpr std::string_view kTail = ".weight";
      if (!name.ends_with(kTail) || source->find(name)->shape.rank() < 2) continue;
      const std::string path = name.substr(0, name.size() - kTail.size());
      add(path, name);
      if (part == LoraPart::kText && !path.starts_with("text_model.")) {
        add("text_model." + path, name);
      }
      if (part == LoraPart::kUNet) add_original(path, name);
    }
  }

  const std::string* find(const LoraModule& module) const {
    const auto& table = module.joined ? joined_ : dotted_;
    const auto found = table.find(module.path);
    return found == table.end() ? nullptr : &found->second;
  }

 private:
  void add(const std::string& path, const std::string& name) {
    dotted_.emplace(path, name);
    joined_.emplace(joined(path), name);
  }
  // Trainers on the original U-Net join its own names.
  void add_original(const std::string& path, const std::string& name) {
    if (path.find("motion_modules.") != std::string::npos) return;
    std::string original;
    try {
      original = unet_to_original(name);
    } catch (const Error&) {
      return;  // a layer that only other models have
    }
    joined_.emplace(joined(original.substr(0, original.size() - 7)), name);
  }

  std::map<std::string, std::string, std::less<>> dotted_, joined_;
};

void check_fit(const LoraModule& module, ConstView weight, const std::string& name,
               const WeightSource& lora) {
  const auto& down = module.down.shape;
  const std::int64_t in = module.down.elements() / down[0];
  const bool fits = module.up.shape[0] == weight.shape[0] &&
                    in * weight.shape[0] == weight.elements() && down[1] == weight.shape[1];
  if (fits) return;
  fail(
      ErrorCode::kCorrupt,
      "{}: {} gives down {} and up {}, but the layer's weight '{}' is {}: this LoRA was trained on "
      "another model",
      lora.description(), in_quotes(module.key), down.to_string(), module.up.shape.to_string(),
      name, weight.shape.to_string());
}

[[noreturn]] void no_layers(const std::vector<std::string>& keys, const std::string& file) {
  std::string list;
  for (std::size_t i = 0; i < keys.size() && i < 20; ++i) list += "\n  " + keys[i];
  if (keys.size() > 20) list += fmt::format("\n  ... and {} more", keys.size() - 20);
  fail(ErrorCode::kCorrupt,
       "{}: {} keys fit no layer of this model (another model family, or a motion LoRA without its "
       "motion module?):{}",
       file, keys.size(), list);
}

}  // namespace

MergedSource::MergedSource(std::shared_ptr<const WeightSource> base, Products products,
                           std::vector<std::shared_ptr<const WeightSource>> kept)
    : base_(std::move(base)), products_(std::move(products)), kept_(std::move(kept)) {}

std::optional<ConstView> MergedSource::find(std::string_view name) const {
  const auto found = products_.find(name);
  if (found == products_.end()) return base_->find(name);
  const std::lock_guard lock(mutex_);
  auto at = merged_.find(name);
  if (at == merged_.end()) {
    Tensor sum = converted(*base_->find(name), DType::kF32);
    const auto size = static_cast<std::size_t>(sum.view().elements());
    for (const auto& product : found->second) add_product({sum.view().as<float>(), size}, product);
    at = merged_.emplace(std::string(name), std::move(sum)).first;
  }
  return at->second.view();
}

void merge_loras(const std::vector<LoraChoice>& loras, const LoraTargets& targets) {
  if (loras.empty()) return;
  struct Target {
    std::shared_ptr<const WeightSource>* source;
    LoraPart part;
    Layers layers;
    MergedSource::Products products;
  };
  std::vector<Target> all;
  for (const auto& [source, part] : {std::pair{targets.unet, LoraPart::kUNet},
                                     {targets.motion, LoraPart::kUNet},
                                     {targets.text, LoraPart::kText}}) {
    if (source != nullptr && *source) {
      all.push_back({source, part, Layers(source->get(), part), {}});
    }
  }
  std::vector<std::shared_ptr<const WeightSource>> kept;
  for (const LoraChoice& choice : loras) {
    refuse_other_formats(choice.file);
    const std::shared_ptr<const CheckpointFiles> file = CheckpointFiles::open_files({choice.file});
    if (!is_lora(*file)) {
      require_kind(describe_tensors(*file), FileKind::kLora, choice.file, "--lora");
    }
    std::vector<std::string> unmatched;
    for (const auto& module : read_lora(*file, file->metadata()).modules) {
      const std::string* name = nullptr;
      for (auto& target : all) {
        if (target.part != module.part || name != nullptr) continue;
        name = target.layers.find(module);
        if (name == nullptr) continue;
        check_fit(module, *(*target.source)->find(*name), *name, *file);
        target.products[*name].push_back({module.down, module.up, module.scale * choice.scale});
      }
      if (name == nullptr) unmatched.push_back(module.key);
    }
    if (!unmatched.empty()) no_layers(unmatched, choice.file.string());
    kept.push_back(file);
  }
  for (auto& target : all) {
    if (target.products.empty()) continue;
    *target.source =
        std::make_shared<MergedSource>(*target.source, std::move(target.products), kept);
  }
}

}  // namespace seamwright::model
