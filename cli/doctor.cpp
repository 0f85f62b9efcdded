// `seamwright doctor`: what this machine has, what is missing, and how to get it.
#include <fmt/core.h>

#include <memory>

#include "base/version.h"
#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "cli/machine.h"

namespace seamwright::cli {
namespace {

const char* need_name(Need need) {
  switch (need) {
    case Need::kRequired:
      return "required";
    case Need::kFeature:
      return "feature";
    case Need::kSpeed:
      return "speed";
  }
  return "unknown";
}

void print_table(const Machine& machine) {
  fmt::print("seamwright {}\n\n", kVersion);
  for (const Check& check : machine.checks) {
    const char* mark = check.ok ? "ok" : (check.need == Need::kRequired ? "MISSING" : "-");
    fmt::print("  {:<8} {:<24} {}\n", mark, check.name, check.found);
    if (!check.ok) fmt::print("  {:<8} {:<24}   {}\n", "", "", check.advice);
  }
  fmt::print("\n{}\n", machine.usable()
                           ? "This machine can make videos."
                           : "This machine cannot make videos until what is MISSING is there.");
}

void print_json(const Machine& machine) {
  nlohmann::json out = machine.facts;
  out["usable"] = machine.usable();
  out["checks"] = nlohmann::json::array();
  for (const Check& check : machine.checks) {
    out["checks"].push_back({{"name", check.name},
                             {"ok", check.ok},
                             {"need", need_name(check.need)},
                             {"found", check.found},
                             {"advice", check.ok ? "" : check.advice}});
  }
  fmt::print("{}\n", out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace

void add_doctor(CLI::App& app, Command& command) {
  auto* verb = app.add_subcommand("doctor", "say what this machine has and what is missing");
  struct Flags {
    bool json = false;
    std::string folder = ".";
  };
  const auto flags = std::make_shared<Flags>();
  verb->add_flag("--json", flags->json, "print JSON");
  verb->add_option("--folder", flags->folder, "where videos would go")->capture_default_str();
  verb->callback([flags, &command] {
    command.run = [flags] {
      const Machine machine = inspect_machine(flags->folder);
      flags->json ? print_json(machine) : print_table(machine);
      return machine.usable() ? 0 : exit_code(ErrorCode::kResource);
    };
  });
}

}  // namespace seamwright::cli
