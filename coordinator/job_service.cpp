#include "coordinator/job_service.h"

#include "base/error.h"

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

}  // namespace seamwright::coordinator
