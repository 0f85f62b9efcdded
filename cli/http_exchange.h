// One HTTP/1.1 request and its answer, piece by piece, with time-outs.
// Threads: one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace seamwright::cli {

struct HttpAsk {
  std::string method, target;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

struct HttpAnswer {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::optional<std::uint64_t> content_length;
  std::string header(const std::string& name) const;
};

class HttpExchange {
 public:
  // http://HOST[:PORT]; anything else is kInvalidArgument. The key may be empty.
  HttpExchange(const std::string& url, std::string api_key);

  // `starts` when the header is there, `takes` for each piece of the body until it says false.
  // Throws kUnavailable, retryable, when the server cannot be reached or breaks off.
  HttpAnswer run(const HttpAsk& ask, const std::function<bool(std::string_view)>& takes,
                 const std::function<void(const HttpAnswer&)>& starts = {});
  const std::string& url() const { return url_; }

 private:
  std::string url_, host_, port_, api_key_;
};

}  // namespace seamwright::cli
