#include "model/files/pickle.h"

#include <array>
#include <fstream>
#include <string_view>

#include "base/error.h"
#include "base/quoted.h"

namespace seamwright::model {
namespace {

namespace fs = std::filesystem;

std::string first_bytes(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) fail(ErrorCode::kIo, "cannot read {}", file.string());
  std::array<char, 4> bytes{};
  in.read(bytes.data(), bytes.size());
  return {bytes.data(), static_cast<std::size_t>(in.gcount())};
}

bool is_pickle(const fs::path& file) {
  const std::string begin = first_bytes(file);
  if (begin == std::string_view("PK\x03\x04", 4)) return true;  // what torch.save writes
  // Older files: protocol 2 to 5, then a first opcode that no safetensors length would have.
  if (begin.size() == 4 && begin[0] == '\x80' && begin[1] >= 2 && begin[1] <= 5) return true;
  const std::string extension = file.extension().string();
  return extension == ".ckpt" || extension == ".pt" || extension == ".pth" || extension == ".bin" ||
         extension == ".pkl";
}

}  // namespace

std::string conversion_command(const std::string& from, const std::string& to) {
  return fmt::format(
      "  python3 -c \"import torch, safetensors.torch as st; "
      "w = torch.load('{}', map_location='cpu', weights_only=True); w = w.get('state_dict', w); "
      "st.save_file({{k: v.clone().contiguous() for k, v in w.items() if hasattr(v, 'shape')}}, "
      "'{}')\"",
      from, to);
}

void refuse_other_formats(const fs::path& file) {
  std::error_code error;
  if (fs::is_directory(file, error)) {
    fail(ErrorCode::kInvalidArgument, "{} is a folder; name the .safetensors file in it",
         in_quotes(file.string()));
  }
  if (!fs::is_regular_file(file, error)) {
    fail(ErrorCode::kNotFound, "there is no file {}", in_quotes(file.string()));
  }
  if (is_pickle(file)) {
    fs::path target = file;
    target.replace_extension(".safetensors");
    fail(ErrorCode::kUnsupported,
         "{} is a Python pickle: it can run any code when it is opened, so it is not read. Convert "
         "it once, in Python with torch and safetensors:\n{}",
         file.string(), conversion_command(file.string(), target.string()));
  }
  if (first_bytes(file) == "GGUF") {
    fail(ErrorCode::kUnsupported,
         "{} is a GGUF file: quantised weights are not read; use the .safetensors file",
         file.string());
  }
}

}  // namespace seamwright::model
