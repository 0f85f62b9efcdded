#include "model/files/lora_file.h"

#include <fmt/ranges.h>

#include <array>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/quoted.h"
#include "model/config_json.h"
#include "model/convert.h"
#include "model/files/original_names.h"
#include "model/files/take.h"

namespace seamwright::model {
namespace {

constexpr std::int64_t kMaxRank = 16384;

enum class Role : std::uint8_t { kDown, kUp, kAlpha };

struct Ending {
  std::string_view text;
  Role role;
  std::string_view naming;
  bool processor;  // the old attention processors' "to_q_lora.down"
};

constexpr std::array<Ending, 11> kEndings = {{
    {".lora_down.weight", Role::kDown, "kohya", false},
    {".lora_up.weight", Role::kUp, "kohya", false},
    {".lora_A.weight", Role::kDown, "PEFT", false},
    {".lora_B.weight", Role::kUp, "PEFT", false},
    {".lora.down.weight", Role::kDown, "diffusers", false},
    {".lora.up.weight", Role::kUp, "diffusers", false},
    {".lora_linear_layer.down.weight", Role::kDown, "diffusers", false},
    {".lora_linear_layer.up.weight", Role::kUp, "diffusers", false},
    {"_lora.down.weight", Role::kDown, "diffusers", true},
    {"_lora.up.weight", Role::kUp, "diffusers", true},
    {".alpha", Role::kAlpha, "", false},
}};

// Parts of tensor names that belong to what is not a plain low-rank product.
constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kRelatives = {{
    {"dora_scale", "DoRA"},
    {"lora_magnitude_vector", "DoRA"},
    {".hada_", "LoHa"},
    {".lokr_", "LoKr"},
    {".oft_", "OFT"},
    {".lora_mid.", "a convolution LoRA in Tucker form"},
    {".w_norm", "a norm of LyCORIS"},
    {".on_input", "IA3"},
}};

// What a tensor belongs to that is not supported, or empty.
std::string_view relative_of(std::string_view name) {
  for (const auto& [part, what] : kRelatives) {
    if (name.find(part) != std::string_view::npos) return what;
  }
  // Only as endings: ".diffusion_model." is a prefix of plain LoRAs.
  return name.ends_with(".diff") || name.ends_with(".diff_b") ? "full differences" : "";
}

bool take_end(std::string& text, std::string_view tail) {
  if (!text.ends_with(tail)) return false;
  text.resize(text.size() - tail.size());
  return true;
}

std::string without_processor(std::string_view path) {
  constexpr std::string_view kPart = ".processor";
  const auto at = path.find(".processor.");
  if (at == std::string_view::npos) return std::string(path);
  return fmt::format("{}{}", path.substr(0, at), path.substr(at + kPart.size()));
}

struct Key {
  Role role = Role::kAlpha;
  LoraPart part = LoraPart::kUNet;
  std::string path;
  bool joined = false;
  std::string_view naming;
};

// "x.lora_A.default.weight" is "x.lora_A.weight" of an adapter named default.
std::string without_adapter_name(const std::string& name) {
  for (const std::string_view half : {".lora_A.", ".lora_B."}) {
    const auto at = name.find(half);
    if (at == std::string::npos) continue;
    const auto rest = std::string_view(name).substr(at + half.size());
    if (rest != "weight" && rest.ends_with(".weight") && rest.find('.') == rest.rfind('.')) {
      return fmt::format("{}weight", name.substr(0, at + half.size()));
    }
  }
  return name;
}

// The layer's path in diffusers' names, from what stands before the ending.
std::string unet_path(std::string_view text, bool processor) {
  std::string path = without_processor(text);
  if (processor && path.ends_with(".to_out")) path = fmt::format("{}.0", path);
  if (path.find("motion_modules.") != std::string::npos) {
    if (auto renamed = motion_from_original(fmt::format("{}.weight", path))) {
      path = std::move(*renamed);
      take_end(path, ".weight");
    }
  }
  return path;
}

std::string text_path(std::string_view text, bool processor) {
  std::string path(text);
  if (!processor) return path;
  for (const auto& [old, now] : {std::pair{".to_q", ".q_proj"},
                                 {".to_k", ".k_proj"},
                                 {".to_v", ".v_proj"},
                                 {".to_out", ".out_proj"}}) {
    if (take_end(path, old)) return fmt::format("{}{}", path, now);
  }
  return path;
}

std::optional<Key> parse_key(const std::string& stored) {
  const std::string name = without_adapter_name(stored);
  for (const Ending& ending : kEndings) {
    if (!name.ends_with(ending.text)) continue;
    Key key{ending.role, LoraPart::kUNet, {}, false, ending.naming};
    std::string_view rest = std::string_view(name).substr(0, name.size() - ending.text.size());
    take(rest, "base_model.model.");
    take(rest, "module.");
    if (take(rest, "lora_unet_")) {
      key.joined = true;
      key.path = rest;
    } else if (take(rest, "lora_te_") || take(rest, "lora_te1_")) {
      key.joined = true;
      key.part = LoraPart::kText;
      key.path = rest;
    } else if (take(rest, "text_encoder.") || rest.starts_with("text_model.")) {
      key.part = LoraPart::kText;
      key.path = text_path(rest, ending.processor);
    } else if (take(rest, "diffusion_model.")) {
      auto renamed = unet_from_original(fmt::format("{}.weight", rest));
      if (!renamed) return std::nullopt;
      take_end(*renamed, ".weight");
      key.path = std::move(*renamed);
    } else {
      take(rest, "unet.");
      key.path = unet_path(rest, ending.processor);
    }
    return key;
  }
  return std::nullopt;
}

double scalar(ConstView view, const std::string& name, const WeightSource& source) {
  if (view.elements() != 1 || (view.dtype != DType::kF32 && view.dtype != DType::kF16 &&
                               view.dtype != DType::kBF16 && view.dtype != DType::kF64)) {
    fail(ErrorCode::kCorrupt, "{}: tensor {} must be one floating-point number, not {} {}",
         source.description(), in_quotes(name), to_string(view.dtype), view.shape.to_string());
  }
  const Tensor value = converted(view, DType::kF32);
  const double number = static_cast<double>(*value.view().as<float>());
  if (!std::isfinite(number)) {
    fail(ErrorCode::kCorrupt, "{}: tensor {} is {}", source.description(), in_quotes(name), number);
  }
  return number;
}

[[noreturn]] void refuse_relative(const WeightSource& source, std::string_view what,
                                  const std::string& name) {
  fail(ErrorCode::kUnsupported,
       "{}: tensor {} belongs to {}, which is not supported: only plain LoRA (one product per "
       "layer) is. Merge it into the checkpoint with the tool it comes from",
       source.description(), in_quotes(name), what);
}

struct Halves {
  LoraModule module;
  bool down = false, up = false;
  std::optional<double> alpha;
};

void check_shapes(const LoraModule& m, const WeightSource& source) {
  const bool linear = m.down.shape.rank() == 2 && m.up.shape.rank() == 2;
  const bool conv = m.down.shape.rank() == 4 && m.up.shape.rank() == 4 && m.up.shape[2] == 1 &&
                    m.up.shape[3] == 1;
  const std::int64_t rank = m.down.shape.rank() > 0 ? m.down.shape[0] : 0;
  if ((!linear && !conv) || rank < 1 || rank > kMaxRank || m.up.shape[1] != rank) {
    fail(
        ErrorCode::kCorrupt,
        "{}: {} has down {} and up {}, but must be [rank, in] and [out, rank], or [rank, in, k, k] "
        "and [out, rank, 1, 1]",
        source.description(), in_quotes(m.key), m.down.shape.to_string(), m.up.shape.to_string());
  }
}

// What diffusers writes beside PEFT names since it keeps alphas in the file's metadata.
class AdapterMetadata {
 public:
  AdapterMetadata(const FileMetadata& metadata, const WeightSource& source) {
    const auto found = metadata.find("lora_adapter_metadata");
    if (found == metadata.end()) return;
    json_ = Json::parse(found->second, nullptr, /*allow_exceptions=*/false);
    if (!json_.is_object()) {
      fail(ErrorCode::kCorrupt, "{}: the metadata lora_adapter_metadata is no JSON object",
           source.description());
    }
    for (const char* part : {"unet.", "text_encoder."}) {
      if (flag(part, "use_dora")) refuse_relative(source, "DoRA", fmt::format("{}use_dora", part));
    }
  }

  std::optional<double> alpha(LoraPart part, const std::string& path) const {
    if (!json_.is_object()) return std::nullopt;
    const auto pattern = json_.find(fmt::format("{}alpha_pattern", prefix_of(part)));
    if (pattern != json_.end() && pattern->is_object()) {
      for (const auto& [key, value] : pattern->items()) {
        const bool meant = path == key || path.ends_with(fmt::format(".{}", key));
        if (value.is_number() && meant) return value.get<double>();
      }
    }
    const auto one = json_.find(fmt::format("{}lora_alpha", prefix_of(part)));
    if (one == json_.end() || !one->is_number()) return std::nullopt;
    return one->get<double>();
  }
  bool root_scale(LoraPart part) const { return flag(prefix_of(part), "use_rslora"); }

 private:
  static std::string prefix_of(LoraPart part) {
    return part == LoraPart::kUNet ? "unet." : "text_encoder.";
  }
  bool flag(const std::string& prefix, const char* key) const {
    if (!json_.is_object()) return false;
    const auto found = json_.find(fmt::format("{}{}", prefix, key));
    return found != json_.end() && found->is_boolean() && found->get<bool>();
  }
  Json json_;
};

std::string naming_of(std::string_view suffix, bool joined, const std::string& stored) {
  if (joined) return "kohya";
  if (stored.find(".temporal_transformer.") != std::string::npos) return "original";
  return std::string(suffix);
}

}  // namespace

bool is_lora(const WeightSource& source) {
  for (const auto& name : source.names()) {
    for (const Ending& ending : kEndings) {
      if (ending.role == Role::kDown && without_adapter_name(name).ends_with(ending.text)) {
        return true;
      }
    }
    for (const std::string_view relative : {".hada_w1_a", ".lokr_w1", ".oft_blocks"}) {
      if (name.find(relative) != std::string::npos) return true;
    }
  }
  return false;
}

LoraFile read_lora(const WeightSource& source, const FileMetadata& metadata) {
  std::map<std::tuple<LoraPart, bool, std::string>, Halves> found;
  LoraFile file;
  std::vector<std::string> strangers;
  for (const auto& name : source.names()) {
    if (const auto what = relative_of(name); !what.empty()) refuse_relative(source, what, name);
    const auto key = parse_key(name);
    if (!key || name.starts_with("lora_te2_") || name.starts_with("text_encoder_2.")) {
      strangers.push_back(name);
      continue;
    }
    Halves& halves = found[{key->part, key->joined, key->path}];
    LoraModule& module = halves.module;
    module.part = key->part;
    module.joined = key->joined;
    module.path = key->path;
    const ConstView view = *source.find(name);
    if (key->role == Role::kAlpha) {
      halves.alpha = scalar(view, name, source);
      continue;
    }
    (key->role == Role::kDown ? module.down : module.up) = view;
    (key->role == Role::kDown ? halves.down : halves.up) = true;
    if (key->role == Role::kDown) module.key = name;
    if (file.naming.empty()) file.naming = naming_of(key->naming, key->joined, name);
  }
  const AdapterMetadata adapter(metadata, source);
  for (auto& [id, halves] : found) {
    LoraModule& module = halves.module;
    if (!halves.down || !halves.up) {
      strangers.push_back(fmt::format("{}{}", module.path,
                                      halves.down ? " (its up half is missing)"
                                      : halves.up ? " (its down half is missing)"
                                                  : ".alpha (without weights)"));
      continue;
    }
    check_shapes(module, source);
    const auto rank = static_cast<double>(module.down.shape[0]);
    const auto stated = halves.alpha ? halves.alpha : adapter.alpha(module.part, module.path);
    module.alpha = stated.value_or(rank);
    module.scale = module.alpha / (adapter.root_scale(module.part) ? std::sqrt(rank) : rank);
    file.modules.push_back(module);
  }
  if (!strangers.empty()) {
    const std::size_t shown = std::min<std::size_t>(strangers.size(), 20);
    fail(ErrorCode::kCorrupt, "{}: {} keys are no part of a LoRA of Stable Diffusion 1.x:\n  {}{}",
         source.description(), strangers.size(),
         fmt::join(strangers.begin(), strangers.begin() + static_cast<std::ptrdiff_t>(shown),
                   "\n  "),
         strangers.size() > shown ? "\n  ..." : "");
  }
  return file;
}

}  // namespace seamwright::model
