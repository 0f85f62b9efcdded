// The flags that set the fields of a job request, shared by every verb that takes one.
// Threads: main thread only.
#pragma once

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "base/request.h"

namespace seamwright::cli {

// Fields in ascending order of strength: defaults, `--config FILE.json` (or $SEAMWRIGHT_CONFIG),
// `--from-sidecar FILE`, $SEAMWRIGHT_*, flags. The files are read here, before flags are parsed.
JobRequest base_request(const std::vector<std::string>& arguments);

// Adds one flag per field to `app`, writing into `request`. `size` receives --size as text;
// call parse_size on it after parsing if it is not empty.
void add_request_options(CLI::App& app, JobRequest& request, std::string& size);

}  // namespace seamwright::cli
