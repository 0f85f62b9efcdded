#include "coordinator/http/errors.h"

#include <fmt/core.h>

#include <new>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "media/metadata.h"

namespace seamwright::coordinator::http {
namespace {

constexpr char kInvalid[] = "invalid_request_error";
constexpr char kServer[] = "server_error";

// Messages of base/request.h start with the field they are about.
std::string leading_word(const std::string& message) {
  const auto end = message.find_first_not_of("abcdefghijklmnopqrstuvwxyz_");
  return end != std::string::npos && message[end] == ' ' ? message.substr(0, end) : "";
}

ApiError from_error(const Error& error) {
  const std::string message = error.what();
  const std::string word(to_string(error.code()));
  switch (error.code()) {
    case ErrorCode::kInvalidArgument:
      return {400, kInvalid, "invalid_value", leading_word(message), message};
    case ErrorCode::kUnsupported:
      return {400, kInvalid, word, leading_word(message), message};
    case ErrorCode::kNotFound:
      return {404, kInvalid, word, "", message};
    case ErrorCode::kResource:
    case ErrorCode::kUnavailable:
    case ErrorCode::kIo: {
      ApiError busy(503, kServer, word, "", message);
      busy.retry_after_s = 5;
      return busy;
    }
    case ErrorCode::kCorrupt:
    case ErrorCode::kCancelled:
    case ErrorCode::kInternal:
      break;
  }
  log_error("http: {} ({}:{})", message, error.where().file_name(), error.where().line());
  return {500, kServer, "internal", "", "the server failed to answer; its log says why"};
}

}  // namespace

ApiError bad_field(const std::string& field, const std::string& code, const std::string& message) {
  return {400, kInvalid, code, field, message};
}

ApiError bad_request(const std::string& code, const std::string& message) {
  return {400, kInvalid, code, "", message};
}

HttpResponse error_response(const ApiError& error) {
  HttpResponse response;
  response.status = error.status;
  const nlohmann::json body = {
      {"error",
       {{"message", error.what()},
        {"type", error.type},
        {"param", error.param.empty() ? nlohmann::json() : nlohmann::json(error.param)},
        {"code", error.code}}}};
  response.body = media::to_text(body);
  // Clients retry 408, 409, 429 and 5xx by themselves; a definite refusal tells them not to.
  response.headers.emplace_back("x-should-retry", error.retry_after_s > 0 ? "true" : "false");
  if (error.retry_after_s > 0) {
    response.headers.emplace_back("retry-after", fmt::format("{}", error.retry_after_s));
  }
  if (error.status == 401) response.headers.emplace_back("www-authenticate", "Bearer");
  return response;
}

ApiError to_api_error(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const ApiError& error) {
    return error;
  } catch (const Error& error) {
    return from_error(error);
  } catch (const std::bad_alloc&) {
    ApiError busy(503, kServer, "out_of_memory", "", "the server is out of memory");
    busy.retry_after_s = 5;
    return busy;
  } catch (const std::exception& error) {
    log_error("http: {}", error.what());
  }
  return {500, kServer, "internal", "", "the server failed to answer; its log says why"};
}

}  // namespace seamwright::coordinator::http
