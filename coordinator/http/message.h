// Requests and responses of the HTTP surface as plain values, free of any network library.
// Threads: values; a BodyStream says which of its calls come from where.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "media/file_descriptor.h"

namespace seamwright::coordinator::http {

struct HttpRequest {
  std::string method;                          // "GET"
  std::string target;                          // as sent, with the query
  std::vector<std::string> path;               // decoded segments: "/v1/videos" -> {"v1", "videos"}
  std::map<std::string, std::string> query;    // decoded; a name given twice is refused
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  std::string id;     // answered as x-request-id
  std::string owner;  // name of the API key; "" when everyone may come in or the key sees all

  // The header's value, or "".
  const std::string& header(const std::string& lower_case_name) const;
};

// Part of a file that stays readable even when its name goes away meanwhile.
struct FileBody {
  std::shared_ptr<const media::FileDescriptor> file;
  std::uint64_t offset = 0, length = 0;
};

// A body whose end is not known when the answer starts.
class BodyStream {
 public:
  struct Piece {
    std::string bytes;  // may be empty: nothing is ready
    bool finished = false;
    bool broken = false;  // there will be no more, and this is not the end
  };
  virtual ~BodyStream() = default;
  // What is ready now, bounded; never blocks. Called by one thread at a time.
  virtual Piece next() = 0;
  // `wake` may be called from any thread whenever next() may have more. Set once, before next().
  virtual void start(std::function<void()> wake) = 0;
  // next() is called again after this long without a wake-up, so that it can say "still here".
  virtual std::chrono::milliseconds patience() const { return std::chrono::seconds(10); }
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::variant<std::string, FileBody, std::shared_ptr<BodyStream>> body;
  std::string route;  // pattern that answered, for metrics
};

}  // namespace seamwright::coordinator::http
