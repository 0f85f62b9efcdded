// Text from files made safe to show in a message (base/quoted.h).
// Threads: pure functions.
#pragma once

#include "base/quoted.h"

namespace seamwright::model {

using seamwright::in_quotes;

}  // namespace seamwright::model
