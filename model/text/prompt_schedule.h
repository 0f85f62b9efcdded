// Keyframed prompts under the model's name (base/prompt_schedule.h).
// Threads: values.
#pragma once

#include "base/prompt_schedule.h"

namespace seamwright::model {

using seamwright::parse_prompt_schedule;
using seamwright::PromptBlend;
using seamwright::PromptKeyframe;
using seamwright::PromptSchedule;

}  // namespace seamwright::model
