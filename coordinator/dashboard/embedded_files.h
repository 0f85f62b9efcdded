// The table that the build makes of the files in this folder (cmake/EmbedFiles.cmake).
// Threads: constant.
#pragma once

#include <span>
#include <string_view>

namespace seamwright::coordinator {

struct EmbeddedFile {
  std::string_view name, bytes;
};
std::span<const EmbeddedFile> embedded_files();

}  // namespace seamwright::coordinator
