// Whole-file reads with a limit, and writes that are complete or absent.
// Threads: safe anywhere on different paths.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace seamwright::media {

// Throws kNotFound, kIo, or kResource when the file is larger than `max_bytes`.
std::string read_file(const std::filesystem::path& path, std::int64_t max_bytes);

// Another number after every write to the file that changes its size or its time; 0 without one.
std::uint64_t file_sign(const std::filesystem::path& path) noexcept;

// Writes a temporary file beside `path`, fsyncs it, renames it, fsyncs the folder. kIo on failure.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

// fsync of a file or folder by name. kIo on failure.
void sync_path(const std::filesystem::path& path);

// Renames and makes the new name durable. kIo on failure.
void publish(const std::filesystem::path& from, const std::filesystem::path& to);

// Creates a folder and those above it that are missing, and fsyncs each folder that got a new one,
// so that the names outlive a loss of power. Returns the folders that were fsynced. kIo on failure.
std::vector<std::filesystem::path> create_folders(const std::filesystem::path& path);

// Creates the folder `path` will lie in, and checks that it can be written to. kIo on failure.
void prepare_parent_folder(const std::filesystem::path& path);

}  // namespace seamwright::media
