// /openapi.json, written from the router's own table.
// Threads: pure.
#pragma once

#include <nlohmann/json.hpp>

#include "coordinator/http/router.h"

namespace seamwright::coordinator::http {

// `keys`: whether endpoints need an API key.
nlohmann::json openapi_document(const Router& router, bool keys);
// Adds GET /openapi.json, which documents the routes added before it.
void add_openapi_route(Router& router, bool keys);

}  // namespace seamwright::coordinator::http
