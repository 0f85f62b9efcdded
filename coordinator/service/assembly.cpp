#include "coordinator/service/assembly.h"

#include <fmt/format.h>
#include <unistd.h>

#include "media/files.h"
#include "media/segment_writer.h"

namespace seamwright::coordinator {

void join_video(const std::vector<std::filesystem::path>& segments,
                const std::filesystem::path& out, const JobRequest& request,
                const nlohmann::json& result, const std::atomic<bool>& stop) {
  media::VideoOptions options;
  options.width = request.width;
  options.height = request.height;
  options.fps = request.fps;
  options.metadata.software = result.value("software", options.metadata.software);
  options.metadata.request = to_json(request);
  options.metadata.models = result.value("models", nlohmann::json::array());
  // A name of this process alone: an ffmpeg that outlived an earlier one may write for a moment.
  auto draft = out;
  draft.replace_extension(fmt::format(".partial-{}.mp4", ::getpid()));
  media::join_segments(segments, draft, options, &stop);
  media::publish(draft, out);
}

}  // namespace seamwright::coordinator
