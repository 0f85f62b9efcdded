// `seamwright submit`: a job for the service, and with --wait its progress and its file.
#include <fmt/core.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/request_fields.h"
#include "cli/api_client.h"
#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "cli/progress.h"
#include "cli/remote_job.h"
#include "cli/request_options.h"
#include "worker/earlier_job.h"

namespace seamwright::cli {
namespace {

using Json = nlohmann::json;

struct SubmitFlags {
  ServerAddress server;
  JobRequest request;
  std::string size, out, idempotency_key;
  int priority = 0;
  std::int64_t deadline = 0;
  bool endless = false, wait = false, json = false, quiet = false;
  bool from_file = false;               // the request began as a config file or sidecar
  const CLI::Option* frames = nullptr;  // --frames
};

using Files = std::vector<std::pair<std::string, std::filesystem::path>>;

// Files to start from are sent along; the video of an earlier job is named by its id.
Files take_files(const JobRequest& request, Json& body) {
  Files files;
  const auto take = [&](const std::string& name, const std::string& file) {
    if (file.empty()) return;
    std::error_code error;
    if (file.starts_with("video_") && !std::filesystem::exists(file, error)) {
      body[name] = file;
      return;
    }
    require(std::filesystem::is_regular_file(file, error), "{} is '{}', which is no file here",
            name, file);
    files.emplace_back(name, file);
  };
  take("init_image", request.init_image);
  for (const auto& keyframe : request.keyframes) {
    take(fmt::format("keyframes[{}]", keyframe.frame), keyframe.file);
  }
  // A service has no sidecars of this machine: the video that one lies beside is sent.
  const auto take_video = [&](const std::string& name, const std::string& file) {
    take(name, file.empty() ? file : worker::video_of_input(file).string());
  };
  take_video("input_video", request.input_video);
  take_video("extend", request.extend);
  return files;
}

Json body_of(SubmitFlags& flags) {
  auto& request = flags.request;
  if (!flags.size.empty()) parse_size(flags.size, request.width, request.height);
  require(!flags.request.prompt.empty(), "a prompt is needed: --prompt \"what the video shows\"");
  // What the service should choose is left out; files of this machine mean nothing there.
  Json body = to_json(request);
  const Json defaults = to_json(JobRequest{});
  for (const auto& field : job_request_fields()) {
    const std::string name(field.name);
    const bool as_default = body.at(name) == defaults.at(name);
    require(!field.local || as_default,
            "{} names files of this machine, which a service does not read; use generate", name);
    const bool is_file = field.kind == FieldKind::kFile || field.kind == FieldKind::kFiles;
    const bool unsaid = as_default && (field.kind == FieldKind::kText || field.given);
    if (field.local || is_file || unsaid) body.erase(name);
  }
  for (const char* name : {"width", "height"}) body.erase(name);
  // A request that says nothing else is as long as its input video.
  if (!request.input_video.empty() && !flags.from_file && flags.frames->count() == 0) {
    body.erase("frames");
  }
  if (request.width != 0) body["size"] = fmt::format("{}x{}", request.width, request.height);
  if (flags.priority != 0) body["priority"] = flags.priority;
  if (flags.endless) body["endless"] = true;
  if (flags.deadline != 0) body["deadline"] = flags.deadline;
  return body;
}

int run(SubmitFlags& flags) {
  ApiClient client(flags.server);
  Json body = body_of(flags);
  const Files files = take_files(flags.request, body);
  Json video = files.empty() ? client.post("/v1/videos", body, flags.idempotency_key)
                             : client.post_form("/v1/videos", body, files, flags.idempotency_key);
  const std::string id = video.at("id");
  ProgressPrinter progress(!flags.quiet);
  if (!flags.wait) {
    if (flags.json) {
      fmt::print("{}\n", video.dump());
    } else {
      fmt::print("{}\n", id);
      progress.note(fmt::format("accepted; follow it with: seamwright logs -f {}", id));
    }
    return 0;
  }
  progress.note(fmt::format("{} is accepted; it goes on if this command is stopped", id));
  video = wait_for_job(client, id, progress);
  if (video.at("status") == "failed") {
    if (flags.json) fmt::print("{}\n", video.dump());
    const Json& error = video.at("error");
    const bool cancelled = error.value("code", "") == "cancelled";
    fmt::print(stderr, "seamwright: {} failed: {}\n", id, error.value("message", ""));
    return exit_code(cancelled ? ErrorCode::kCancelled : ErrorCode::kUnavailable);
  }
  const std::string out = flags.out.empty() ? id + ".mp4" : flags.out;
  client.download(video_target(id, "/content"), out, [](std::uint64_t, std::uint64_t) {});
  if (flags.json) {
    video["file"] = out;
    fmt::print("{}\n", video.dump());
  } else {
    fmt::print("{}\n", out);
    progress.note(result_line(video));
  }
  return 0;
}

}  // namespace

void add_submit(CLI::App& app, Command& command) {
  auto* verb = app.add_subcommand("submit", "give the service a job");
  auto flags = std::make_shared<SubmitFlags>();
  flags->request = base_request(command.arguments);
  add_server_options(*verb, flags->server);
  flags->from_file = !(flags->request == JobRequest{});
  add_request_options(*verb, flags->request, flags->size);
  flags->frames = verb->get_option("--frames");
  verb->add_option("--priority", flags->priority, "higher runs first, -100 to 100");
  verb->add_flag("--endless", flags->endless, "go on until cancelled or the deadline");
  verb->add_option("--deadline", flags->deadline, "Unix time after which the job ends");
  verb->add_option("--idempotency-key", flags->idempotency_key,
                   "the same key and request give the same job again");
  verb->add_flag("--wait", flags->wait, "show progress, then fetch the video");
  verb->add_option("-o,--out", flags->out, "file of --wait; ID.mp4 when not given");
  verb->add_flag("--json", flags->json, "print the job as JSON");
  verb->add_flag("-q,--quiet", flags->quiet, "no progress");
  verb->callback([flags, &command] { command.run = [flags] { return run(*flags); }; });
}

}  // namespace seamwright::cli
