// Any tensor names, shapes and values as a community file: told apart, renamed, read as a LoRA.
#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/files/file_kind.h"
#include "model/files/lora_merge.h"
#include "model/files/original_names.h"
#include "model/files/renamed_source.h"
#include "model/files/single_file.h"
#include "model/safetensors.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace seamwright;

class ParsedSource final : public model::WeightSource {
 public:
  explicit ParsedSource(const model::SafetensorsHeader& header) {
    for (const auto& tensor : header.tensors) tensors_.emplace(tensor.name, tensor.view());
  }
  std::optional<model::ConstView> find(std::string_view name) const override {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) return std::nullopt;
    return found->second;
  }
  std::vector<std::string> names() const override {
    std::vector<std::string> out;
    for (const auto& [name, view] : tensors_) out.push_back(name);
    return out;
  }
  std::string description() const override { return "fuzz"; }

 private:
  std::map<std::string, model::ConstView, std::less<>> tensors_;
};

// Configs, and a LoRA merged into whatever layers the file has itself.
void use(const std::shared_ptr<const ParsedSource>& source, const model::FileMetadata& metadata) {
  const model::RenamedSource unet(source, model::kOriginalUNetPrefix, model::unet_from_original);
  expect_clean_refusal([&] { model::unet_config_of(unet); });
  const model::RenamedSource vae(source, model::kOriginalVaePrefix, model::vae_from_original);
  expect_clean_refusal([&] { model::vae_config_of(vae); });
  expect_clean_refusal([&] { model::text_config_of(*source); });
  const auto lora = model::read_lora(*source, metadata);
  model::MergedSource::Products products;
  for (const auto& module : lora.modules) {
    products[module.path].push_back({module.down, module.up, module.scale});
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return expect_clean_refusal([&] {
    std::vector<std::uint64_t> aligned(size / 8 + 2);
    auto* bytes = reinterpret_cast<std::byte*>(aligned.data());
    std::copy_n(reinterpret_cast<const std::byte*>(data), size, bytes);
    const model::SafetensorsHeader header = model::parse_safetensors({bytes, size}, "fuzz");
    const auto source = std::make_shared<const ParsedSource>(header);
    model::describe_tensors(*source);
    use(source, header.metadata);
  });
}
