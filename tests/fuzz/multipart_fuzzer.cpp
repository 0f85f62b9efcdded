// A form: the first line is its content type, the rest its body. Refused with a 4xx, or every part
// lies inside the body.
#include "coordinator/http/multipart.h"
#include "coordinator/http/submission_body.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace seamwright;
  using namespace seamwright::coordinator;
  const std::string_view text = text_of(data, size);
  const auto end = text.find('\n');
  if (end == std::string_view::npos) return 0;
  http::HttpRequest request;
  request.headers["content-type"] = std::string(text.substr(0, end));
  request.body = std::string(text.substr(end + 1));
  try {
    const auto type = http::parse_media_type(request.header("content-type"));
    for (const auto& part :
         http::parse_multipart(request.body, type.parameter("boundary").value_or("B"))) {
      if (part.value.data() < request.body.data() ||
          part.value.data() + part.value.size() > request.body.data() + request.body.size()) {
        std::abort();
      }
    }
    Submission submission;
    http::apply_body(http::read_body(request), submission);
  } catch (const ApiError& error) {
    if (error.status < 400 || error.status > 499) std::abort();
  }
  return 0;
}
