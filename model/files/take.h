// Reading tensor names from the front.
// Threads: pure functions.
#pragma once

#include <string_view>

namespace seamwright::model {

// Takes `prefix` from the front of `text`; false where it is not there.
inline bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

}  // namespace seamwright::model
