// Answers to requests that cannot be granted, in the one shape that clients of the API know.
// Threads: pure.
#pragma once

#include <exception>
#include <string>

#include "coordinator/http/message.h"
#include "coordinator/job_service.h"

namespace seamwright::coordinator::http {

// 400 with the field that is wrong.
ApiError bad_field(const std::string& field, const std::string& code, const std::string& message);
ApiError bad_request(const std::string& code, const std::string& message);

// {"error": {"message", "type", "param", "code"}}, x-should-retry and retry-after.
HttpResponse error_response(const ApiError& error);

// What any exception of a handler becomes: an ApiError as it is, a seamwright::Error by its code,
// all else 500 without details.
ApiError to_api_error(const std::exception_ptr& exception);

}  // namespace seamwright::coordinator::http
