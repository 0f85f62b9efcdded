#include "cli/remote_job.h"

#include <fmt/core.h>

#include <chrono>
#include <ctime>

#include "base/error.h"

namespace seamwright::cli {
namespace {

using Json = nlohmann::json;

constexpr std::chrono::seconds kAskInterval{1};

void show(const Json& video, ProgressPrinter& progress, std::string& waiting_for) {
  const auto reason = video.at("waiting_for");
  if (reason.is_string() && reason != waiting_for) {
    waiting_for = reason.get<std::string>();
    const auto why = printable(waiting_for);
    const auto place = video.at("queue_position");
    progress.note(place.is_number() ? fmt::format("queued, {} before it: {}", place.get<int>(), why)
                                    : fmt::format("waiting: {}", why));
  }
  if (video.at("status") != "in_progress") return;
  worker::Progress now;
  now.evaluations = video.at("evaluations_done");
  now.evaluations_total = video.at("evaluations_total");
  now.frames = video.at("frames_done");
  now.frames_total = video.at("request").at("frames");
  const auto started = video.at("started_at");
  now.seconds = started.is_number()
                    ? static_cast<double>(std::time(nullptr) - started.get<std::int64_t>())
                    : 0;
  if (now.evaluations_total > 0) progress.update(now);
}

}  // namespace

std::string video_target(const std::string& id, const std::string& more) {
  require(!id.empty() &&
              id.find_first_not_of("abcdefghijklmnopqrstuvwxyz_0123456789") == std::string::npos,
          "'{}' is not the id of a job; seamwright ps lists them", id);
  return "/v1/videos/" + id + more;
}

std::string printable(std::string_view text) {
  std::string shown;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0U;
    if (c == '\n' || c == '\t') {
      shown += ' ';
    } else if (c < 0x20 || c == 0x7F) {
      shown += "\uFFFD";
    } else if (c == 0xC2 && next >= 0x80 && next < 0xA0) {  // U+0080 to U+009F
      shown += "\uFFFD";
      ++i;
    } else {
      shown += text[i];
    }
  }
  return shown;
}

bool is_final(const Json& video) {
  return video.at("status") != "queued" && video.at("status") != "in_progress";
}

Json wait_for_job(ApiClient& client, const std::string& id, ProgressPrinter& progress) {
  std::string waiting_for;
  Json video = client.get(video_target(id));
  auto asked = std::chrono::steady_clock::now();
  client.events(video_target(id, "/events"), [&](const ApiEvent& event) {
    // Events only say that something happened; the job itself says what it is now.
    if (event.kind == "log" && event.data.contains("line")) {
      progress.note(printable(event.data.at("line").get<std::string>()));
      return true;
    }
    if (event.kind == "video") {
      video = event.data;
    } else {
      // Several come in a second, and requests may be counted.
      // The end of the stream is asked about.
      const auto now = std::chrono::steady_clock::now();
      if (now - asked < kAskInterval) return true;
      asked = now;
      video = client.get(video_target(id));
    }
    show(video, progress, waiting_for);
    return !is_final(video);
  });
  progress.clear();
  return client.get(video_target(id));
}

std::string result_line(const Json& video) {
  std::string line = fmt::format("{} frames", video.at("frames_done").get<std::int64_t>());
  const auto first = video.at("first_frame_seconds"), rate = video.at("frames_per_second");
  if (first.is_number()) line += fmt::format(", first after {:.1f} s", first.get<double>());
  if (rate.is_number()) line += fmt::format(", {:.2f} frames/s", rate.get<double>());
  if (video.at("attempt").get<int>() > 1) {
    line += fmt::format(", {} attempts", video.at("attempt").get<int>());
  }
  const auto hash = video.at("latents_sha256");
  if (hash.is_string()) line += ", latents sha256 " + hash.get<std::string>();
  return line;
}

}  // namespace seamwright::cli
