#include "coordinator/service/assembly.h"

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
  media::join_segments(segments, out, options, &stop);
}

}  // namespace seamwright::coordinator
