#include "coordinator/http/range.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "coordinator/http/errors.h"

namespace seamwright::coordinator::http {
namespace {

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

ByteRange parse_range(std::string_view header, std::uint64_t size) {
  const ByteRange whole{RangeKind::kWhole, 0, size};
  if (!header.starts_with("bytes=")) return whole;
  header.remove_prefix(6);
  const auto dash = header.find('-');
  if (dash == std::string_view::npos) return whole;
  const std::string_view first_text = header.substr(0, dash), last_text = header.substr(dash + 1);
  if (first_text.empty()) {  // the last n bytes
    const auto count = number(last_text);
    if (!count) return whole;
    if (*count == 0 || size == 0) return {RangeKind::kUnsatisfiable, 0, 0};
    const std::uint64_t length = std::min(*count, size);
    return {RangeKind::kPart, size - length, length};
  }
  const auto first = number(first_text);
  const auto last = last_text.empty() ? std::optional(UINT64_MAX) : number(last_text);
  if (!first || !last || *last < *first) return whole;
  if (*first >= size) return {RangeKind::kUnsatisfiable, 0, 0};
  return {RangeKind::kPart, *first, std::min(*last, size - 1) - *first + 1};
}

HttpResponse file_response(const HttpRequest& request, const std::filesystem::path& file,
                           const std::string& content_type) {
  auto opened = std::make_shared<const media::FileDescriptor>(
      ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat info = {};
  if (!*opened || ::fstat(opened->get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    throw ApiError(410, "invalid_request_error", "file_missing", "",
                   "the file is not on this server any more");
  }
  const auto size = static_cast<std::uint64_t>(info.st_size);
  const std::string tag =
      fmt::format("\"{:x}-{:x}-{:x}\"", size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
  HttpResponse response;
  response.content_type = content_type;
  response.headers = {{"accept-ranges", "bytes"}, {"etag", tag}, {"cache-control", "private"}};
  if (request.header("if-none-match") == tag) {
    response.status = 304;
    response.body = std::string();
    return response;
  }
  const std::string& condition = request.header("if-range");
  const bool honour = condition.empty() || condition == tag;
  const ByteRange range = parse_range(honour ? request.header("range") : "", size);
  if (range.kind == RangeKind::kUnsatisfiable) {
    HttpResponse refused = error_response(
        {416, "invalid_request_error", "bad_range", "",
         fmt::format("the range lies beyond the end of the file, which has {} bytes", size)});
    refused.headers.emplace_back("content-range", fmt::format("bytes */{}", size));
    return refused;
  }
  if (range.kind == RangeKind::kPart) {
    response.status = 206;
    response.headers.emplace_back(
        "content-range",
        fmt::format("bytes {}-{}/{}", range.offset, range.offset + range.length - 1, size));
  }
  response.body = FileBody{opened, range.offset, range.length};
  return response;
}

}  // namespace seamwright::coordinator::http
