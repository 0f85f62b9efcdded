#include "model/files/original_names.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <charconv>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/quoted.h"
#include "model/files/take.h"

namespace seamwright::model {
namespace {

using Pair = std::pair<std::string_view, std::string_view>;  // original, diffusers

// Blocks of Stable Diffusion 1.x: two layers on the way down, three on the way up, four widths.
constexpr int kDownLayers = 2;
constexpr int kUpLayers = kDownLayers + 1;
constexpr int kVaeLevels = 4;

constexpr std::array<Pair, 5> kUNetTop = {{{"time_embed.0.", "time_embedding.linear_1."},
                                           {"time_embed.2.", "time_embedding.linear_2."},
                                           {"input_blocks.0.0.", "conv_in."},
                                           {"out.0.", "conv_norm_out."},
                                           {"out.2.", "conv_out."}}};
constexpr std::array<Pair, 6> kUNetResnet = {{{"in_layers.0.", "norm1."},
                                              {"in_layers.2.", "conv1."},
                                              {"emb_layers.1.", "time_emb_proj."},
                                              {"out_layers.0.", "norm2."},
                                              {"out_layers.3.", "conv2."},
                                              {"skip_connection.", "conv_shortcut."}}};
constexpr std::array<Pair, 3> kMiddle = {{{"middle_block.0.", "mid_block.resnets.0."},
                                          {"middle_block.1.", "mid_block.attentions.0."},
                                          {"middle_block.2.", "mid_block.resnets.1."}}};
constexpr std::array<Pair, 5> kVaeResnet = {{{"norm1.", "norm1."},
                                             {"conv1.", "conv1."},
                                             {"norm2.", "norm2."},
                                             {"conv2.", "conv2."},
                                             {"nin_shortcut.", "conv_shortcut."}}};
constexpr std::array<Pair, 5> kVaeAttention = {{{"norm.", "group_norm."},
                                                {"q.", "to_q."},
                                                {"k.", "to_k."},
                                                {"v.", "to_v."},
                                                {"proj_out.", "to_out.0."}}};
constexpr std::array<Pair, 3> kVaeEnds = {
    {{"conv_in.", "conv_in."}, {"norm_out.", "conv_norm_out."}, {"conv_out.", "conv_out."}}};
constexpr std::array<Pair, 3> kVaeMid = {{{"mid.block_1.", "mid_block.resnets.0."},
                                          {"mid.attn_1.", "mid_block.attentions.0."},
                                          {"mid.block_2.", "mid_block.resnets.1."}}};
constexpr std::array<Pair, 5> kMotion = {{{"attention_blocks.0.", "attn1."},
                                          {"attention_blocks.1.", "attn2."},
                                          {"norms.0.", "norm1."},
                                          {"norms.1.", "norm2."},
                                          {"ff_norm.", "norm3."}}};

using Direction = std::string_view Pair::*;
constexpr Direction kOriginal = &Pair::first, kDiffusers = &Pair::second;

Direction other(Direction from) { return from == kOriginal ? kDiffusers : kOriginal; }

// Replaces the beginning of `name` by the pair that matches it; nullopt when none does.
std::optional<std::string> swapped(std::span<const Pair> pairs, Direction from,
                                   std::string_view name) {
  for (const Pair& pair : pairs) {
    if (name.starts_with(pair.*from)) {
      return fmt::format("{}{}", pair.*other(from), name.substr((pair.*from).size()));
    }
  }
  return std::nullopt;
}

// Takes "12." from the front.
std::optional<int> take_number(std::string_view& name) {
  int value = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), value);
  const auto digits = static_cast<std::size_t>(end - name.data());
  if (error != std::errc() || value < 0 || digits > 4 || digits >= name.size()) return std::nullopt;
  if (name[digits] != '.') return std::nullopt;
  if (digits > 1 && name.front() == '0') return std::nullopt;  // "01." is no name of ours
  name.remove_prefix(digits + 1);
  return value;
}

bool is_transformer(std::string_view rest) {
  return rest.starts_with("norm.") || rest.starts_with("proj_in.") ||
         rest.starts_with("proj_out.") || rest.starts_with("transformer_blocks.");
}

std::optional<std::string> joined(std::string head, const std::optional<std::string>& tail) {
  if (!tail) return std::nullopt;
  return head + *tail;
}

std::optional<std::string> unet_down(std::string_view rest) {  // "4.1.norm.weight"
  const auto n = take_number(rest);
  const auto child = take_number(rest);
  if (!n || !child || *n == 0) return std::nullopt;
  const int block = (*n - 1) / kUpLayers, layer = (*n - 1) % kUpLayers;
  if (layer == kDownLayers) {
    if (*child != 0 || !take(rest, "op.")) return std::nullopt;
    return fmt::format("down_blocks.{}.downsamplers.0.conv.{}", block, rest);
  }
  if (*child == 0) {
    return joined(fmt::format("down_blocks.{}.resnets.{}.", block, layer),
                  swapped(kUNetResnet, kOriginal, rest));
  }
  if (*child != 1 || !is_transformer(rest)) return std::nullopt;
  return fmt::format("down_blocks.{}.attentions.{}.{}", block, layer, rest);
}

std::optional<std::string> unet_up(std::string_view rest) {
  const auto n = take_number(rest);
  const auto child = take_number(rest);
  if (!n || !child) return std::nullopt;
  const int block = *n / kUpLayers, layer = *n % kUpLayers;
  if (*child == 0) {
    return joined(fmt::format("up_blocks.{}.resnets.{}.", block, layer),
                  swapped(kUNetResnet, kOriginal, rest));
  }
  if (*child == 1 && is_transformer(rest)) {
    return fmt::format("up_blocks.{}.attentions.{}.{}", block, layer, rest);
  }
  // Behind an attention where the block has one, else in its place.
  if (*child > 2 || layer != kUpLayers - 1 || !take(rest, "conv.")) return std::nullopt;
  return fmt::format("up_blocks.{}.upsamplers.0.conv.{}", block, rest);
}

std::optional<std::string> unet_middle(std::string_view name, Direction from) {
  const auto renamed = swapped(kMiddle, from, name);
  if (!renamed) return std::nullopt;
  for (const Pair& part : kMiddle) {
    if (!name.starts_with(part.*from)) continue;
    const auto rest = name.substr((part.*from).size());
    if (part.second.find("attentions") != std::string_view::npos) {
      return is_transformer(rest) ? renamed : std::nullopt;
    }
    return joined(std::string(part.*other(from)), swapped(kUNetResnet, from, rest));
  }
  return std::nullopt;
}

std::optional<std::string> vae_side(std::string_view side, std::string_view rest) {
  const auto inside = [&](std::optional<std::string> name) {
    return joined(fmt::format("{}.", side), name);
  };
  if (auto end = swapped(kVaeEnds, kOriginal, rest)) return inside(end);
  if (auto mid = swapped(kVaeMid, kOriginal, rest)) {
    const bool attention = rest.starts_with("mid.attn_1.");
    std::string_view tail = rest.substr(rest.find('.', 4) + 1);
    const std::string head = mid->substr(0, mid->size() - tail.size());
    return inside(joined(head, attention ? swapped(kVaeAttention, kOriginal, tail)
                                         : swapped(kVaeResnet, kOriginal, tail)));
  }
  const bool up = side == "decoder";
  if (!take(rest, up ? "up." : "down.")) return std::nullopt;
  const auto level = take_number(rest);
  if (!level || *level >= kVaeLevels) return std::nullopt;
  // The original counts the decoder's levels from the picture inwards.
  const int block = up ? kVaeLevels - 1 - *level : *level;
  const std::string head = fmt::format("{}.{}_blocks.{}.", side, up ? "up" : "down", block);
  if (take(rest, up ? "upsample.conv." : "downsample.conv.")) {
    return fmt::format("{}{}samplers.0.conv.{}", head, up ? "up" : "down", rest);
  }
  if (!take(rest, "block.")) return std::nullopt;
  const auto layer = take_number(rest);
  if (!layer) return std::nullopt;
  return joined(fmt::format("{}resnets.{}.", head, *layer), swapped(kVaeResnet, kOriginal, rest));
}

[[noreturn]] void no_name(std::string_view network, std::string_view name) {
  fail(ErrorCode::kInternal, "tensor {} of the {} has no original name", in_quotes(name), network);
}

std::string must(std::optional<std::string> name, std::string_view network,
                 std::string_view asked) {
  if (!name) no_name(network, asked);
  return std::move(*name);
}

// `rest` behind "down_blocks." or "up_blocks.".
std::optional<std::string> unet_block_to_original(bool up, std::string_view rest) {
  const int layers = kUpLayers;
  const auto block = take_number(rest);
  if (!block) return std::nullopt;
  const std::string_view blocks = up ? "output_blocks" : "input_blocks";
  const auto at = [&](int layer) { return *block * layers + layer + (up ? 0 : 1); };
  if (take(rest, "downsamplers.0.conv.")) {
    return fmt::format("{}.{}.0.op.{}", blocks, at(kDownLayers), rest);
  }
  if (take(rest, "upsamplers.0.conv.")) {
    return fmt::format("{}.{}.{}.conv.{}", blocks, at(kUpLayers - 1), *block == 0 ? 1 : 2, rest);
  }
  const bool attention = take(rest, "attentions.");
  if (!attention && !take(rest, "resnets.")) return std::nullopt;
  const auto layer = take_number(rest);
  if (!layer) return std::nullopt;
  if (attention) return fmt::format("{}.{}.1.{}", blocks, at(*layer), rest);
  return joined(fmt::format("{}.{}.0.", blocks, at(*layer)),
                swapped(kUNetResnet, kDiffusers, rest));
}

std::optional<std::string> vae_side_to_original(std::string_view side, std::string_view rest) {
  const auto inside = [&](std::optional<std::string> name) {
    return joined(fmt::format("{}.", side), name);
  };
  if (auto end = swapped(kVaeEnds, kDiffusers, rest)) return inside(end);
  for (const Pair& part : kVaeMid) {
    if (!rest.starts_with(part.second)) continue;
    const auto tail = rest.substr(part.second.size());
    const bool attention = part.first == "mid.attn_1.";
    return inside(joined(std::string(part.first), attention
                                                      ? swapped(kVaeAttention, kDiffusers, tail)
                                                      : swapped(kVaeResnet, kDiffusers, tail)));
  }
  const bool up = side == "decoder";
  if (!take(rest, up ? "up_blocks." : "down_blocks.")) return std::nullopt;
  const auto block = take_number(rest);
  if (!block || *block >= kVaeLevels) return std::nullopt;
  const int level = up ? kVaeLevels - 1 - *block : *block;
  const std::string head = fmt::format("{}.{}.{}.", side, up ? "up" : "down", level);
  if (take(rest, up ? "upsamplers.0.conv." : "downsamplers.0.conv.")) {
    return fmt::format("{}{}sample.conv.{}", head, up ? "up" : "down", rest);
  }
  if (!take(rest, "resnets.")) return std::nullopt;
  const auto layer = take_number(rest);
  if (!layer) return std::nullopt;
  return joined(fmt::format("{}block.{}.", head, *layer), swapped(kVaeResnet, kDiffusers, rest));
}

// Splits "down_blocks.0.motion_modules.1." from what follows; false when there is no such place.
bool take_motion_place(std::string_view& name, std::string& place) {
  const auto whole = name;
  if (take(name, "down_blocks.") || take(name, "up_blocks.")) {
    if (!take_number(name)) return false;
  } else if (!take(name, "mid_block.")) {
    return false;
  }
  if (!take(name, "motion_modules.") || !take_number(name)) return false;
  place = whole.substr(0, whole.size() - name.size());
  return true;
}

constexpr std::string_view kTransformerBlocks = "transformer_blocks.";

}  // namespace

std::optional<std::string> unet_from_original(std::string_view name) {
  if (auto top = swapped(kUNetTop, kOriginal, name)) return top;
  if (auto middle = unet_middle(name, kOriginal)) return middle;
  if (take(name, "input_blocks.")) return unet_down(name);
  if (take(name, "output_blocks.")) return unet_up(name);
  return std::nullopt;
}

std::string unet_to_original(std::string_view name) {
  const auto whole = name;
  if (auto top = swapped(kUNetTop, kDiffusers, name)) return *top;
  if (auto middle = unet_middle(name, kDiffusers)) return *middle;
  if (take(name, "down_blocks.")) return must(unet_block_to_original(false, name), "U-Net", whole);
  if (take(name, "up_blocks.")) return must(unet_block_to_original(true, name), "U-Net", whole);
  no_name("U-Net", whole);
}

std::optional<std::string> vae_from_original(std::string_view name) {
  if (name.starts_with("quant_conv.") || name.starts_with("post_quant_conv.")) {
    return std::string(name);
  }
  if (take(name, "encoder.")) return vae_side("encoder", name);
  if (take(name, "decoder.")) return vae_side("decoder", name);
  return std::nullopt;
}

std::string vae_to_original(std::string_view name) {
  const auto whole = name;
  if (name.starts_with("quant_conv.") || name.starts_with("post_quant_conv.")) {
    return std::string(name);
  }
  if (take(name, "encoder.")) return must(vae_side_to_original("encoder", name), "VAE", whole);
  if (take(name, "decoder.")) return must(vae_side_to_original("decoder", name), "VAE", whole);
  no_name("VAE", whole);
}

std::optional<std::string> motion_from_original(std::string_view name) {
  take(name, "module.");
  std::string place;
  if (!take_motion_place(name, place)) return std::nullopt;
  take(name, "temporal_transformer.");
  const auto whole = name;
  if (!take(name, kTransformerBlocks))
    return place + std::string(whole);  // norm, proj_in, proj_out
  const auto block = take_number(name);
  if (!block) return std::nullopt;
  const std::string head = fmt::format("{}{}{}.", place, kTransformerBlocks, *block);
  if (name == "attention_blocks.0.pos_encoder.pe" || name == "attention_blocks.1.pos_encoder.pe") {
    return head + "pos_embed.pe";
  }
  if (const auto renamed = swapped(kMotion, kOriginal, name)) return head + *renamed;
  return head + std::string(name);  // ff, and names that are diffusers' already
}

std::vector<std::string> motion_to_original(std::string_view name) {
  const auto asked = name;
  std::string place;
  if (!take_motion_place(name, place)) no_name("motion module", asked);
  place += "temporal_transformer.";
  const auto whole = name;
  if (!take(name, kTransformerBlocks)) return {place + std::string(whole)};
  const auto block = take_number(name);
  if (!block) no_name("motion module", asked);
  const std::string head = fmt::format("{}{}{}.", place, kTransformerBlocks, *block);
  if (name == "pos_embed.pe") {
    return {head + "attention_blocks.0.pos_encoder.pe", head + "attention_blocks.1.pos_encoder.pe"};
  }
  if (const auto renamed = swapped(kMotion, kDiffusers, name)) return {head + *renamed};
  return {head + std::string(name)};
}

}  // namespace seamwright::model
