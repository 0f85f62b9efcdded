#include "cli/api_client.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <optional>
#include <string_view>
#include <thread>

#include "base/error.h"
#include "cli/http_exchange.h"
#include "media/file_descriptor.h"
#include "media/files.h"

namespace seamwright::cli {
namespace {

using Json = nlohmann::json;

constexpr int kTries = 5;
constexpr int kRatePauses = 20;  // others may use the same key
constexpr std::uint64_t kMaxAnswerBytes = 64 << 20;
constexpr std::int64_t kMaxUploadBytes = 1 << 30;  // the server has a limit of its own

std::string random_key() {
  std::array<unsigned char, 16> bytes{};
  ensure(::getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()),
         "no random bytes");
  std::string text;
  for (const unsigned char byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

ErrorCode code_of(int status) {
  switch (status) {
    case 404:
    case 410:
      return ErrorCode::kNotFound;
    case 429:
    case 502:
    case 503:
    case 504:
      return ErrorCode::kUnavailable;
    default:
      return status < 500 ? ErrorCode::kInvalidArgument : ErrorCode::kInternal;
  }
}

[[noreturn]] void refuse(int status, const std::string& body) {
  const Json answer = Json::parse(body, nullptr, false);
  std::string message = fmt::format("the server answered {}", status);
  if (answer.is_object() && answer.contains("error") && answer["error"].is_object()) {
    message = answer["error"].value("message", message);
  }
  // A fault of the server, not of this program.
  if (status >= 500) fail(ErrorCode::kUnavailable, "{}", message);
  fail(code_of(status), "{}", message);
}

// How long to wait before the same is asked again, where only the key's limit of requests is in the
// way: whatever was asked has not happened.
std::optional<std::chrono::seconds> rate_pause(int status, const std::string& retry_after,
                                               const std::string& body) {
  if (status != 429) return std::nullopt;
  const Json answer = Json::parse(body, nullptr, false);
  const bool rate = answer.is_object() && answer.contains("error") && answer["error"].is_object() &&
                    answer["error"].value("code", Json()) == "rate_limit_exceeded";
  if (!rate) return std::nullopt;
  int wait_s = 1;
  std::from_chars(retry_after.data(), retry_after.data() + retry_after.size(), wait_s);
  return std::chrono::seconds(std::clamp(wait_s, 1, 60));
}

void pause_before(int attempt) {
  std::this_thread::sleep_for(std::chrono::milliseconds(200 << std::min(attempt, 4)));
}

// Takes whole events out of `text`.
std::optional<ApiEvent> take_event(std::string& text) {
  const auto end = text.find("\n\n");
  if (end == std::string::npos) return std::nullopt;
  ApiEvent event;
  std::string data;
  std::string_view rest = std::string_view(text).substr(0, end);
  while (!rest.empty()) {
    const auto line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const auto value = line.substr(std::min(line.size(), line.find(": ") + 2));
    if (line.starts_with("id: ")) event.id = value;
    if (line.starts_with("event: ")) event.kind = value;
    if (line.starts_with("data: ")) data += value;
  }
  event.data = Json::parse(data, nullptr, false);
  text.erase(0, end + 2);
  return event;
}

}  // namespace

void add_server_options(CLI::App& app, ServerAddress& address) {
  app.add_option("--server", address.url, "address of the service")
      ->envname("SEAMWRIGHT_SERVER")
      ->capture_default_str();
  app.add_option("--api-key", address.api_key, "API key (better in the environment)")
      ->envname("SEAMWRIGHT_API_KEY");
}

struct ApiClient::State {
  explicit State(const ServerAddress& address) : exchange(address.url, address.api_key) {}

  Json answer_of(const HttpAsk& ask) {
    HttpAnswer answer;
    std::string body;
    for (int pauses = 0;; ++pauses) {
      body.clear();
      answer = exchange.run(ask, [&](std::string_view piece) {
        require(body.size() + piece.size() <= kMaxAnswerBytes, "the server's answer is too large");
        body += piece;
        return true;
      });
      const auto pause = rate_pause(answer.status, answer.header("retry-after"), body);
      if (!pause || pauses == kRatePauses) break;
      std::this_thread::sleep_for(*pause);
    }
    if (answer.status >= 400) refuse(answer.status, body);
    Json parsed = Json::parse(body, nullptr, false);
    if (parsed.is_discarded()) {
      fail(ErrorCode::kUnavailable, "{} does not answer like Seamwright; is the address right?",
           exchange.url());
    }
    return parsed;
  }

  HttpExchange exchange;
};

ApiClient::ApiClient(const ServerAddress& address) : state_(std::make_unique<State>(address)) {}
ApiClient::~ApiClient() = default;

Json ApiClient::get(const std::string& target) {
  return state_->answer_of({.method = "GET", .target = target, .headers = {}, .body = ""});
}

Json ApiClient::post(const std::string& target, const Json& body, std::string idempotency_key) {
  return post_body(target, body.is_null() ? "" : body.dump(), "application/json",
                   std::move(idempotency_key));
}

Json ApiClient::post_form(const std::string& target, const Json& body,
                          const std::vector<std::pair<std::string, std::filesystem::path>>& files,
                          std::string idempotency_key) {
  const std::string boundary = "seamwright-" + random_key();
  std::string form;
  for (const auto& [name, value] : body.items()) {
    form +=
        fmt::format("--{}\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n{}\r\n", boundary,
                    name, value.is_string() ? value.get<std::string>() : value.dump());
  }
  for (const auto& [name, path] : files) {
    form += fmt::format(
        "--{}\r\nContent-Disposition: form-data; name=\"{}\"; filename=\"file\"\r\n"
        "Content-Type: application/octet-stream\r\n\r\n",
        boundary, name);
    form += media::read_file(path, kMaxUploadBytes);
    form += "\r\n";
  }
  form += "--" + boundary + "--\r\n";
  return post_body(target, std::move(form), "multipart/form-data; boundary=" + boundary,
                   std::move(idempotency_key));
}

Json ApiClient::post_body(const std::string& target, std::string body, const std::string& type,
                          std::string idempotency_key) {
  if (idempotency_key.empty()) idempotency_key = random_key();
  const HttpAsk ask{.method = "POST",
                    .target = target,
                    .headers = {{"Content-Type", type}, {"Idempotency-Key", idempotency_key}},
                    .body = std::move(body)};
  for (int attempt = 0;; ++attempt) {
    try {
      return state_->answer_of(ask);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kUnavailable || !error.retryable() || attempt == kTries) throw;
      pause_before(attempt);
    }
  }
}

void ApiClient::download(const std::string& target, const std::filesystem::path& file,
                         const std::function<void(std::uint64_t, std::uint64_t)>& seen) {
  media::prepare_parent_folder(file);
  const std::filesystem::path partial = file.string() + ".part";
  const media::FileDescriptor out(
      ::open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!out) fail(ErrorCode::kIo, "cannot write {}", partial.string());
  std::uint64_t done = 0;
  std::string tag, refusal;
  for (int attempt = 0;; ++attempt) {
    HttpAsk ask{.method = "GET", .target = target, .headers = {}, .body = ""};
    if (done > 0) {
      ask.headers = {{"Range", fmt::format("bytes={}-", done)}, {"If-Range", tag}};
    }
    std::uint64_t total = 0;
    int status = 0;
    const auto starts = [&](const HttpAnswer& answer) {
      status = answer.status;
      if (status != 206) done = 0;  // the whole file again
      if (done == 0 && ::lseek(out.get(), 0, SEEK_SET) != 0) return;
      total = done + answer.content_length.value_or(0);
      tag = answer.header("etag");
    };
    const auto takes = [&](std::string_view piece) {
      if (status >= 400) {
        refusal += piece;
        return refusal.size() < 65536;
      }
      while (!piece.empty()) {
        const auto wrote = ::write(out.get(), piece.data(), piece.size());
        if (wrote <= 0) fail(ErrorCode::kIo, "cannot write {}: disk full?", partial.string());
        piece.remove_prefix(static_cast<std::size_t>(wrote));
        done += static_cast<std::uint64_t>(wrote);
      }
      seen(done, total);
      return true;
    };
    try {
      state_->exchange.run(ask, takes, starts);
      if (status >= 400) refuse(status, refusal);
      break;
    } catch (const Error& error) {
      const bool again = error.retryable() && attempt < kTries;
      if (!again) {
        std::error_code ignored;
        std::filesystem::remove(partial, ignored);
        throw;
      }
      pause_before(attempt);
    }
  }
  media::publish(partial, file);
}

void ApiClient::events(const std::string& target,
                       const std::function<bool(const ApiEvent&)>& handler) {
  std::string last_id, retry_after;
  bool over = false;
  int pauses = 0;
  for (int attempt = 0; !over; ++attempt) {
    HttpAsk ask{.method = "GET", .target = target, .headers = {}, .body = ""};
    if (!last_id.empty()) ask.headers.emplace_back("Last-Event-ID", last_id);
    std::string text;
    int status = 0;
    const auto takes = [&](std::string_view piece) {
      text += piece;
      if (status >= 400) return text.size() < 65536;
      attempt = 0;  // it works again
      while (!over) {
        const auto event = take_event(text);
        if (!event) break;
        if (!event->id.empty()) last_id = event->id;
        over = event->kind == "end" || (!event->kind.empty() && !handler(*event));
      }
      return !over;
    };
    try {
      state_->exchange.run(ask, takes, [&](const HttpAnswer& answer) {
        status = answer.status;
        retry_after = answer.header("retry-after");
      });
      const auto pause = rate_pause(status, retry_after, text);
      if (pause && pauses++ < kRatePauses) {
        std::this_thread::sleep_for(*pause);
        continue;
      }
      if (status >= 400) refuse(status, text);
      if (status == 204) return;
    } catch (const Error& error) {
      if (!error.retryable() || attempt >= kTries) throw;
    }
    if (!over) pause_before(attempt);
  }
}

}  // namespace seamwright::cli
