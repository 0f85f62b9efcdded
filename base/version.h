// The program's version, in metadata, reports and handshakes.
// Threads: a constant.
#pragma once

namespace seamwright {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace seamwright
