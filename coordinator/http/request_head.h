// Beast's header fields as an HttpRequest, and the answers to what cannot be read. Private to
// http/.
// Threads: safe from any thread.
#pragma once

#include <boost/beast/core/error.hpp>
#include <boost/beast/http/message.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "coordinator/http/message.h"

namespace seamwright::coordinator::http {

// Fills method, target, headers and id. An answer when the header must be refused: no or two hosts,
// a repeated field that may not be, a transfer encoding other than chunked.
std::optional<HttpResponse> read_head(const boost::beast::http::request_header<>& head,
                                      HttpRequest& request);
// The answer to a failed read; none when there is nobody to answer.
std::optional<HttpResponse> read_error(boost::beast::error_code error);
HttpResponse too_large(std::uint64_t max_bytes);
HttpResponse too_busy();
std::string new_request_id();

}  // namespace seamwright::coordinator::http
