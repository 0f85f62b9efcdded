#include "cli/launcher.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "base/error.h"
#include "comm/mpi/mpi_fabric.h"

namespace seamwright::cli {
namespace {

bool on_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::stringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (access((std::filesystem::path(folder) / program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

}  // namespace

std::string resolve_launcher(const LaunchOptions& options) {
  require(options.launcher == "auto" || options.launcher == "mpirun" ||
              options.launcher == "srun" || options.launcher == "none",
          "launcher is '{}', but must be one of: auto mpirun srun none", options.launcher);
  require(options.hostfile.empty() || options.launcher == "auto" || options.launcher == "mpirun",
          "a hostfile needs launcher mpirun, not {}", options.launcher);
  if (options.launcher != "auto") return options.launcher;
  if (options.ranks == 1 && options.hostfile.empty()) return "none";
  return comm::mpi_available() && on_path("mpirun") ? "mpirun" : "none";
}

std::vector<std::string> launch_command(const LaunchOptions& options, const std::string& launcher,
                                        const std::string& program,
                                        const std::vector<std::string>& arguments, bool as_root) {
  std::vector<std::string> command;
  if (launcher == "srun") {
    command = {"srun", "--mpi=pmix", "--ntasks", std::to_string(options.ranks)};
  } else {
    // A rank's threads need more than the one core that mpirun would bind it to.
    command = {"mpirun",          "-n",        std::to_string(options.ranks),
               "--oversubscribe", "--bind-to", "none"};
    if (as_root) command.push_back("--allow-run-as-root");
    if (!options.hostfile.empty()) {
      command.push_back("--hostfile");
      command.push_back(options.hostfile);
      // A host whose link is cut is lost to mpirun after six seconds, before its ranks give up;
      // by default after eight minutes, in which mpirun would hang.
      for (const auto& [name, value] : {std::pair{"time", "2"}, {"intvl", "1"}, {"probes", "4"}}) {
        const auto parameter = std::string("oob_tcp_keepalive_") + name;
        if (std::getenv(("OMPI_MCA_" + parameter).c_str()) != nullptr) continue;
        command.insert(command.end(), {"--mca", parameter, value});
      }
    }
  }
  command.push_back(program);
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

void launch(const std::vector<std::string>& command) {
  std::vector<char*> argv;
  for (const auto& part : command) argv.push_back(const_cast<char*>(part.c_str()));
  argv.push_back(nullptr);
  execvp(argv[0], argv.data());
  fail(ErrorCode::kNotFound,
       "{} cannot be started: {}; install it (apt-get install openmpi-bin), or use --launcher none",
       command.front(), std::strerror(errno));
}

}  // namespace seamwright::cli
