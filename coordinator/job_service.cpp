#include "coordinator/job_service.h"

#include "base/error.h"
#include "media/metadata.h"

namespace seamwright::coordinator {

std::string_view to_string(JobState state) {
  switch (state) {
    case JobState::kQueued:
      return "queued";
    case JobState::kInProgress:
      return "in_progress";
    case JobState::kCompleted:
      return "completed";
    case JobState::kFailed:
      return "failed";
  }
  fail(ErrorCode::kInternal, "job state {} has no name", static_cast<int>(state));
}

std::string event_text(const JobEvent& event) {
  nlohmann::json data = event.data.is_object() ? event.data : nlohmann::json{{"data", event.data}};
  data["video_id"] = event.job;
  data["sequence"] = event.sequence;
  return media::to_text(data);
}

}  // namespace seamwright::coordinator
