// Whole-file reads with a limit, and writes that are complete or absent.
// Threads: safe anywhere on different paths.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace seamwright::media {

// Throws kNotFound, kIo, or kResource when the file is larger than `max_bytes`.
std::string read_file(const std::filesystem::path& path, std::int64_t max_bytes);

// Writes a temporary file beside `path`, fsyncs it, renames it, fsyncs the folder. kIo on failure.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

// fsync of a file or folder by name. kIo on failure.
void sync_path(const std::filesystem::path& path);

// Renames and makes the new name durable. kIo on failure.
void publish(const std::filesystem::path& from, const std::filesystem::path& to);

// Creates the folder `path` will lie in, and checks that it can be written to. kIo on failure.
void prepare_parent_folder(const std::filesystem::path& path);

}  // namespace seamwright::media
