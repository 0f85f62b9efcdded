// Pickled weight files are never opened: the refusal says why and how to convert them.
// Threads: pure but for reading the first bytes of a file.
#pragma once

#include <filesystem>
#include <string>

namespace seamwright::model {

// The command that turns a pickled file into a .safetensors file.
std::string conversion_command(const std::string& from, const std::string& to);

// Throws kNotFound where there is no such file, kUnsupported for a pickle, whatever it is called,
// and for other formats that are no safetensors (GGUF, archives).
void refuse_other_formats(const std::filesystem::path& file);

}  // namespace seamwright::model
