#include "coordinator/http/message.h"

namespace seamwright::coordinator::http {

const std::string& HttpRequest::header(const std::string& lower_case_name) const {
  static const std::string kNone;
  const auto found = headers.find(lower_case_name);
  return found == headers.end() ? kNone : found->second;
}

}  // namespace seamwright::coordinator::http
