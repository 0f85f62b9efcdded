// Any JSON as a job request: refused, or equal to itself after a round trip.
#include <nlohmann/json.hpp>

#include "base/request.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace seamwright;
  return expect_clean_refusal([&] {
    const auto document = nlohmann::json::parse(text_of(data, size), nullptr, false);
    if (document.is_discarded()) return;
    const JobRequest request = job_request_from_json(document);
    validate(request);
    if (!(job_request_from_json(to_json(request)) == request)) std::abort();
  });
}
