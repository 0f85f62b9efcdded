// Jobs as the Video objects of the API: the 13 keys that clients know, always all of them, and
// ours.
// Threads: pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "coordinator/job_service.h"

namespace seamwright::coordinator::http {

nlohmann::json video_object(const JobView& job);
// {"object":"list","data","first_id","last_id","has_more"}
nlohmann::json video_list(const JobPage& page);
// 4 or 4.125, without trailing zeros.
std::string seconds_text(std::int64_t frames, double fps);

}  // namespace seamwright::coordinator::http
