// JSON schemas of what the API takes and answers, for /openapi.json.
// Threads: pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "coordinator/http/router.h"

namespace seamwright::coordinator::http {

// {"$ref": "#/components/schemas/NAME"}
nlohmann::json schema_ref(const std::string& name);
// Every schema of the document by name: Video, VideoList, CreateVideo, RemixVideo, Error ...
nlohmann::json component_schemas();
// The answer named, and the refusals every endpoint may give, plus those in `more`.
std::vector<DocumentedResponse> responses(DocumentedResponse success, std::vector<int> more);

}  // namespace seamwright::coordinator::http
