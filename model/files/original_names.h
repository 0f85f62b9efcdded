// The tensor names of Stable Diffusion 1.x and AnimateDiff as their own repositories write them,
// and the names diffusers gives to the same tensors. Everything behind this header speaks
// diffusers.
// Threads: pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace seamwright::model {

// The three networks of one file and the prefixes they have there.
inline constexpr std::string_view kOriginalUNetPrefix = "model.diffusion_model.";
inline constexpr std::string_view kOriginalVaePrefix = "first_stage_model.";
inline constexpr std::string_view kOriginalTextPrefix = "cond_stage_model.transformer.";

// Names without those prefixes; nullopt for a name that is none of that network's. Numbers are
// taken as they are: whether block 9 exists is for the network to say.
std::optional<std::string> unet_from_original(std::string_view name);
std::optional<std::string> vae_from_original(std::string_view name);
// Also takes names that are already diffusers' own, and the "module." that parallel training adds.
// The two position tables of one block become one name.
std::optional<std::string> motion_from_original(std::string_view name);

// The other way round, for writing; a name that is none of that network's is an error.
std::string unet_to_original(std::string_view name);
std::string vae_to_original(std::string_view name);
// A position table is stored once for each of the two attentions.
std::vector<std::string> motion_to_original(std::string_view name);

}  // namespace seamwright::model
