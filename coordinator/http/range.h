// HTTP byte ranges of files, so that players can seek.
// Threads: pure.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "coordinator/http/message.h"

namespace seamwright::coordinator::http {

enum class RangeKind { kWhole, kPart, kUnsatisfiable };
struct ByteRange {
  RangeKind kind = RangeKind::kWhole;
  std::uint64_t offset = 0, length = 0;  // of the part
};

// "bytes=a-b", "bytes=a-", "bytes=-n". Anything else, several ranges included, asks for the whole
// file, as the standard allows.
ByteRange parse_range(std::string_view header, std::uint64_t size);

// 200, 206 or 416 with ETag, Accept-Ranges and Content-Range; honours If-None-Match and If-Range.
// Throws ApiError 404 when the file is gone.
HttpResponse file_response(const HttpRequest& request, const std::filesystem::path& file,
                           const std::string& content_type);

}  // namespace seamwright::coordinator::http
