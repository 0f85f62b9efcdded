// What every fuzzer does with errors: an Error with any code but kInternal is the right answer to
// bad input; every other exception is a finding.
// Threads: libFuzzer calls from one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

#include "base/error.h"

namespace seamwright {

template <class Call>
int expect_clean_refusal(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInternal) std::abort();
  }
  return 0;
}

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace seamwright
