#include "cli/gang_command.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <random>

#include "base/error.h"
#include "cli/launcher.h"
#include "media/files.h"

namespace seamwright::cli {

namespace fs = std::filesystem;

namespace {

// Every address is no address to call.
std::string reachable(const std::string& host) {
  return host == "0.0.0.0" || host == "::" ? "127.0.0.1" : host;
}

}  // namespace

std::vector<std::string> local_gang_command(const LocalGangOptions& options,
                                            const std::string& name) {
  std::vector<std::string> arguments = {
      "worker",
      "--coordinator",
      fmt::format("{}:{}", reachable(options.control_host), options.control_port),
      "--token-file",
      options.token_file.string(),
      "--name",
      name,
      "--window-parallel-size",
      std::to_string(options.layout.groups),
      "--pipeline-parallel-size",
      std::to_string(options.layout.stages),
      "--threads",
      std::to_string(options.threads),
      "--lease-ms",
      std::to_string(options.lease_ms),
      "--die-with-parent"};
  if (options.layout.folded) arguments.emplace_back("--folded");
  const auto program = fs::read_symlink("/proc/self/exe").string();
  LaunchOptions launch;
  launch.launcher = options.launcher;
  launch.ranks = options.layout.ranks();
  const auto launcher = resolve_launcher(launch);
  if (launcher != "none") {
    auto command = launch_command(launch, launcher, program, arguments, ::geteuid() == 0);
    // A supervisor starts programs by path.
    command.insert(command.begin(), "/usr/bin/env");
    return command;
  }
  arguments.insert(arguments.begin(), program);
  return arguments;
}

std::string read_token(const fs::path& file) {
  struct stat about {};
  if (::stat(file.c_str(), &about) != 0) {
    fail(ErrorCode::kNotFound, "the token file {} does not exist; 'seamwright serve' makes one",
         file.string());
  }
  require((about.st_mode & (S_IRWXG | S_IRWXO)) == 0,
          "the token file {} can be read by others than its owner: chmod 600 it", file.string());
  std::ifstream stream(file);
  std::string token;
  std::getline(stream, token);
  require(token.size() >= 16, "the token file {} needs a token of at least 16 characters",
          file.string());
  return token;
}

std::string make_token(const fs::path& file) {
  if (fs::exists(file)) return read_token(file);
  media::prepare_parent_folder(file);
  std::random_device device;
  std::string token;
  for (int i = 0; i < 8; ++i) token += fmt::format("{:08x}", device());
  const auto old = ::umask(S_IRWXG | S_IRWXO);
  media::write_file_atomically(file, token + "\n");
  ::umask(old);
  fs::permissions(file, fs::perms::owner_read | fs::perms::owner_write);
  return token;
}

}  // namespace seamwright::cli
