// `seamwright ps, show, logs, cancel, get, cluster`: the service's jobs from the command line.
#include <fmt/core.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/api_client.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/remote_job.h"

namespace seamwright::cli {
namespace {

using Json = nlohmann::json;

struct VerbFlags {
  ServerAddress server;
  std::string id, out, variant = "video";
  int limit = 20;
  bool json = false, follow = false, all = false;
};

std::string text_or_dash(const Json& value) {
  if (value.is_null()) return "-";
  return printable(value.is_string() ? value.get<std::string>() : value.dump());
}

// At most `width` characters, never half of one.
std::string shortened(std::string text, std::size_t width) {
  if (text.size() <= width) return text;
  std::size_t end = width - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

std::string status_text(const Json& video) {
  if (video.at("status") == "failed" && video.at("error").is_object()) {
    return "failed: " + video.at("error").value("code", "");
  }
  if (video.at("queue_position").is_number()) {
    return fmt::format("queued #{}", video.at("queue_position").get<int>() + 1);
  }
  return video.at("status");
}

void print_row(const Json& video) {
  const auto age =
      static_cast<double>(std::time(nullptr) - video.at("created_at").get<std::int64_t>());
  fmt::print("{:<38}  {:<18}  {:>3} %  {:>7}  {:>12}  {}\n", video.at("id").get<std::string>(),
             status_text(video), video.at("progress").get<int>(),
             video.at("request").at("frames").get<std::int64_t>(), duration_text(age),
             shortened(text_or_dash(video.at("prompt")), 44));
}

int ps(const VerbFlags& flags) {
  ApiClient client(flags.server);
  if (!flags.json) {
    fmt::print("{:<38}  {:<18}  {:>5}  {:>7}  {:>12}  {}\n", "ID", "STATUS", "DONE", "FRAMES",
               "AGE", "PROMPT");
  }
  std::string after;
  for (int left = flags.all ? INT32_MAX : flags.limit; left > 0;) {
    const int wanted = std::min(left, 100);
    std::string target = fmt::format("/v1/videos?limit={}", wanted);
    if (!after.empty()) target += "&after=" + after;
    const Json page = client.get(target);
    for (const Json& video : page.at("data")) {
      if (flags.json) {
        fmt::print("{}\n", video.dump());
      } else {
        print_row(video);
      }
    }
    if (!page.at("has_more").get<bool>() || page.at("data").empty()) break;
    after = page.at("last_id").get<std::string>();
    left -= wanted;
  }
  return 0;
}

int show(const VerbFlags& flags) {
  ApiClient client(flags.server);
  const Json video = client.get(video_target(flags.id));
  if (flags.json) {
    fmt::print("{}\n", video.dump());
    return 0;
  }
  for (const auto& [name, value] : video.items()) {
    if (name == "request" || value.is_null() || value == "") continue;
    fmt::print("{:<22} {}\n", name, text_or_dash(value));
  }
  fmt::print("request\n");
  for (const auto& [name, value] : video.at("request").items()) {
    if (value != "") fmt::print("  {:<20} {}\n", name, text_or_dash(value));
  }
  return 0;
}

void print_event(const ApiEvent& event, bool json) {
  if (json) {
    fmt::print("{}\n", Json{{"event", event.kind}, {"data", event.data}}.dump());
  } else if (event.kind == "log" && event.data.contains("line")) {
    fmt::print("{}\n", printable(event.data.at("line").get<std::string>()));
  } else {
    std::string line = printable(event.kind);
    for (const auto& [name, value] : event.data.items()) {
      if (name != "video_id" && name != "sequence")
        line += " " + printable(name) + "=" + text_or_dash(value);
    }
    fmt::print("{}\n", line);
  }
  std::fflush(stdout);
}

// The past events are there at once; without -f the first pause after them ends the command.
int logs(const VerbFlags& flags) {
  ApiClient client(flags.server);
  const Json video = client.get(video_target(flags.id));
  const std::string query = flags.follow ? "" : "?follow=false";
  client.events(video_target(flags.id, "/events" + query), [&](const ApiEvent& event) {
    if (event.kind != "video") print_event(event, flags.json);
    return true;
  });
  return 0;
}

int cancel(const VerbFlags& flags) {
  ApiClient client(flags.server);
  const Json video = client.post(video_target(flags.id, "/cancel"), Json());
  fmt::print("{}\n", flags.json ? video.dump() : status_text(video));
  return 0;
}

int get(const VerbFlags& flags) {
  ApiClient client(flags.server);
  const bool picture = flags.variant == "thumbnail";
  const std::string out = flags.out.empty() ? flags.id + (picture ? ".png" : ".mp4") : flags.out;
  client.download(video_target(flags.id, "/content?variant=" + flags.variant), out,
                  [](std::uint64_t, std::uint64_t) {});
  fmt::print("{}\n", out);
  return 0;
}

int cluster(const VerbFlags& flags) {
  ApiClient client(flags.server);
  const Json cluster = client.get("/v1/cluster");
  if (flags.json) {
    fmt::print("{}\n", cluster.dump());
    return 0;
  }
  const Json gangs = cluster.value("gangs", Json::array());
  if (gangs.empty()) fmt::print("no gang is connected\n");
  for (const Json& gang : gangs) {
    for (const auto& [name, value] : gang.items()) {
      fmt::print("{:<18} {}\n", name, text_or_dash(value));
    }
    fmt::print("\n");
  }
  return 0;
}

CLI::App* add_verb(CLI::App& app, Command& command, const std::string& name,
                   const std::string& help, int (*run)(const VerbFlags&), bool takes_id,
                   std::shared_ptr<VerbFlags>& flags) {
  auto* verb = app.add_subcommand(name, help);
  flags = std::make_shared<VerbFlags>();
  add_server_options(*verb, flags->server);
  verb->add_flag("--json", flags->json, "print JSON");
  if (takes_id) verb->add_option("id", flags->id, "id of the job")->required();
  verb->callback([flags, &command, run] { command.run = [flags, run] { return run(*flags); }; });
  return verb;
}

}  // namespace

void add_client_verbs(CLI::App& app, Command& command) {
  std::shared_ptr<VerbFlags> flags;
  auto* list = add_verb(app, command, "ps", "jobs of the service, newest first", ps, false, flags);
  list->add_option("-n,--limit", flags->limit, "how many")->capture_default_str();
  list->add_flag("-a,--all", flags->all, "all of them");
  add_verb(app, command, "show", "everything about one job", show, true, flags);
  add_verb(app, command, "logs", "what happened to a job", logs, true, flags)
      ->add_flag("-f,--follow", flags->follow, "go on until the job is final");
  add_verb(app, command, "cancel", "stop a job", cancel, true, flags);
  auto* fetch = add_verb(app, command, "get", "fetch a finished video", get, true, flags);
  fetch->add_option("-o,--out", flags->out, "file; ID.mp4 when not given");
  fetch->add_option("--variant", flags->variant, "video or thumbnail (the newest preview)")
      ->check(CLI::IsMember({"video", "thumbnail"}))
      ->capture_default_str();
  add_verb(app, command, "cluster", "gangs and what they do", cluster, false, flags);
}

}  // namespace seamwright::cli
