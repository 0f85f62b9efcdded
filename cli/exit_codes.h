// Exit codes by kind of error, documented in `seamwright --help`.
// Threads: pure.
#pragma once

#include "base/error.h"

namespace seamwright::cli {

inline int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return 2;
    case ErrorCode::kNotFound:
      return 3;
    case ErrorCode::kUnsupported:
      return 4;
    case ErrorCode::kCorrupt:
      return 5;
    case ErrorCode::kIo:
      return 6;
    case ErrorCode::kResource:
      return 7;
    case ErrorCode::kUnavailable:
      return 8;
    case ErrorCode::kCancelled:
      return 130;
    case ErrorCode::kInternal:
      return 70;
  }
  return 70;
}

}  // namespace seamwright::cli
