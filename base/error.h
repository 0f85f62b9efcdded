// The one exception type of the program, and the checks that throw it.
// Threads: values only; safe anywhere.
#pragma once

#include <fmt/core.h>

#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace seamwright {

// What went wrong, as a caller can act on it. The command line maps each to an exit code.
enum class ErrorCode {
  kInvalidArgument,  // the request is wrong: change it
  kNotFound,         // a file, model or job does not exist
  kUnsupported,      // understood, but this build or engine cannot do it
  kCorrupt,          // a file or message is damaged
  kIo,               // reading or writing failed (disk full, permission, closed pipe)
  kResource,         // not enough memory, disk or device
  kUnavailable,      // a peer, child process or service is gone; trying again may help
  kCancelled,        // stopped on request
  kInternal,         // a broken invariant: a fault of ours
};

std::string_view to_string(ErrorCode code);

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message,
        std::source_location where = std::source_location::current(), bool retryable = false)
      : std::runtime_error(message), code_(code), where_(where), retryable_(retryable) {}

  ErrorCode code() const noexcept { return code_; }
  const std::source_location& where() const noexcept { return where_; }
  bool retryable() const noexcept { return retryable_; }

 private:
  ErrorCode code_;
  std::source_location where_;
  bool retryable_;
};

// What the system calls the error `code` (a value of errno).
std::string errno_text(int code);

// A format string that remembers the line it was written on.
template <class... Args>
struct FormatAt {
  template <class S>
  consteval FormatAt(const S& text,  // NOLINT(google-explicit-constructor): used as a parameter
                     std::source_location at = std::source_location::current())
      : format(text), where(at) {}
  fmt::format_string<Args...> format;
  std::source_location where;
};

template <class... Args>
[[noreturn]] void fail(ErrorCode code, FormatAt<std::type_identity_t<Args>...> text,
                       Args&&... args) {
  throw Error(code, fmt::format(text.format, std::forward<Args>(args)...), text.where);
}

// Checks a condition the program relies on; stays on in release builds. kInternal.
template <class... Args>
void ensure(bool ok, FormatAt<std::type_identity_t<Args>...> text, Args&&... args) {
  if (!ok) [[unlikely]] {
    throw Error(ErrorCode::kInternal, fmt::format(text.format, std::forward<Args>(args)...),
                text.where);
  }
}

// Checks what a user or a file supplied. kInvalidArgument.
template <class... Args>
void require(bool ok, FormatAt<std::type_identity_t<Args>...> text, Args&&... args) {
  if (!ok) [[unlikely]] {
    throw Error(ErrorCode::kInvalidArgument, fmt::format(text.format, std::forward<Args>(args)...),
                text.where);
  }
}

}  // namespace seamwright
