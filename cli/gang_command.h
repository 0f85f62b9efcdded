// The command lines of local gangs, and the token they share with their coordinator.
// Threads: pure but for reading and writing the token's file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "scheduling/plan.h"

namespace seamwright::cli {

struct LocalGangOptions {
  scheduling::Layout layout;
  int threads = 0;
  std::string control_host = "127.0.0.1";  // where the coordinator listens
  std::uint16_t control_port = 0;
  std::filesystem::path token_file;
  std::string launcher = "auto";
  int lease_ms = 9000;
};

// Rank threads of one process, or processes under mpirun where it is installed.
std::vector<std::string> local_gang_command(const LocalGangOptions& options,
                                            const std::string& name);

// The first line of the file. Throws kNotFound, kInvalidArgument for a file others can read or one
// without a token.
std::string read_token(const std::filesystem::path& file);
// Draws a token and keeps it for the owner alone, unless the file is there already.
std::string make_token(const std::filesystem::path& file);

}  // namespace seamwright::cli
