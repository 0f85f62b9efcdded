// Files that clients of a service start from, looked at before their job is accepted.
// Threads: safe from any thread; runs decoders as child processes and blocks for them.
#pragma once

#include "base/request.h"

namespace seamwright::cli {

// Every file the request names must be of the right kind and decode at its first frames.
// `as_long_as_input` sets frames to those of the input video. Throws kInvalidArgument naming the
// field, kUnsupported when this machine has no decoder.
void check_inputs(JobRequest& request, bool as_long_as_input);

// Of a request with every default filled in: the files have the frames that are asked of them, and
// something is left to make. Throws kInvalidArgument.
void check_lengths(const JobRequest& request);

}  // namespace seamwright::cli
