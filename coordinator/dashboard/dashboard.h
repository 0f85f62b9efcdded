// The dashboard's files, embedded in the program, as routes of the HTTP server.
// Threads: pure.
#pragma once

#include <vector>

#include "coordinator/http/router.h"

namespace seamwright::coordinator {

// GET / and /dashboard/FILE; need no key, since a page must load before it can ask for one.
std::vector<http::Route> dashboard_routes();

}  // namespace seamwright::coordinator
