// What one .safetensors file is, told from its tensors' names and shapes alone, and how it is used.
// Threads: pure but for reading the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "model/weights.h"

namespace seamwright::model {

enum class FileKind : std::uint8_t {
  kCheckpoint,       // Stable Diffusion 1.x, original names
  kOtherCheckpoint,  // SD 2.x, SDXL, inpainting ...: known, not supported
  kMotion,           // AnimateDiff motion modules, original or diffusers names
  kVae,              // original or diffusers names, AutoencoderTiny in diffusers'
  kUNet,             // diffusers' U-Net alone
  kTextEncoder,      // transformers' text encoder alone
  kLora,             // of the U-Net and text encoder
  kMotionLora,
  kControl,    // ControlNet, SparseCtrl, IP-Adapter, PIA ...: known, not supported
  kEmbedding,  // textual inversion
  kUnknown,
};

struct FileReport {
  FileKind kind = FileKind::kUnknown;
  std::string title;    // "AnimateDiff motion module v3, original names, up to 32 frames"
  std::string use;      // how it is given, and what it goes with; empty where refused
  std::string refused;  // why it cannot be used; empty where it can
  std::size_t tensors = 0, bytes = 0;
};

FileReport describe_tensors(const WeightSource& source);
// Throws kUnsupported for pickles (with the conversion command), kCorrupt for damaged files.
FileReport describe_file(const std::filesystem::path& file);
std::string to_text(const FileReport& report, const std::filesystem::path& file);

// Throws kUnsupported, saying what the file is and how it is given, unless it is of that kind.
void require_kind(const FileReport& report, FileKind wanted, const std::filesystem::path& file,
                  std::string_view option);

}  // namespace seamwright::model
