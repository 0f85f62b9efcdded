#include "coordinator/http/api_keys.h"

#include <openssl/crypto.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <mutex>
#include <sstream>

#include "base/error.h"
#include "media/files.h"

namespace seamwright::coordinator::http {
namespace {

constexpr std::int64_t kMaxFileBytes = 1 << 20;
constexpr std::size_t kMinKeyBytes = 16;

Sha256Digest hash_of(std::string_view text) {
  return sha256(std::as_bytes(std::span(text.data(), text.size())));
}

int limit_value(std::string_view text, const std::string& where) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  require(error == std::errc() && end == text.data() + text.size() && value > 0,
          "{}: '{}' must be a whole number above 0", where, text);
  return value;
}

ApiKey parse_line(const std::string& line, const std::string& where) {
  std::istringstream words(line);
  ApiKey key;
  std::string secret;
  words >> key.name >> secret;
  require(
      secret.size() >= kMinKeyBytes,
      "{}: a line is NAME KEY [admin] [requests_per_minute=N] [active_jobs=N], with a KEY of at "
      "least {} characters",
      where, kMinKeyBytes);
  key.hash = hash_of(secret);
  for (std::string word; words >> word;) {
    const std::string name = word.substr(0, word.find('='));
    const std::string value = word.size() > name.size() ? word.substr(name.size() + 1) : "";
    if (word == "admin") {
      key.admin = true;
    } else if (name == "requests_per_minute") {
      key.requests_per_minute = limit_value(value, where);
    } else if (name == "active_jobs") {
      key.active_jobs = limit_value(value, where);
    } else {
      fail(ErrorCode::kInvalidArgument,
           "{}: unknown word '{}'; allowed: admin requests_per_minute=N active_jobs=N", where,
           word);
    }
  }
  // The jobs of admins belong to nobody in particular, so they cannot be counted by key.
  require(!key.admin || key.active_jobs == 0,
          "{}: active_jobs does not apply to an admin; leave one of the two out", where);
  return key;
}

}  // namespace

struct ApiKeys::State {
  struct Bucket {
    double tokens = 0;
    std::chrono::steady_clock::time_point filled;
  };
  std::vector<ApiKey> keys;
  std::mutex mutex;
  std::map<std::string, Bucket> buckets;  // by name; guarded by mutex
};

ApiKeys::ApiKeys() : state_(std::make_unique<State>()) {}
ApiKeys::~ApiKeys() = default;
ApiKeys::ApiKeys(ApiKeys&&) noexcept = default;
ApiKeys& ApiKeys::operator=(ApiKeys&&) noexcept = default;

ApiKeys ApiKeys::from_file(const std::filesystem::path& file) {
  struct stat info = {};
  if (::stat(file.c_str(), &info) == 0) {
    require((info.st_mode & (S_IRWXG | S_IRWXO)) == 0,
            "the API key file {} can be read by others; run: chmod 600 {}", file.string(),
            file.string());
  }
  ApiKeys keys = parse(media::read_file(file, kMaxFileBytes), file.string());
  require(!keys.empty(), "the API key file {} has no key", file.string());
  return keys;
}

ApiKeys ApiKeys::parse(std::string_view text, const std::string& where) {
  ApiKeys keys;
  std::istringstream lines{std::string(text)};
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    line.erase(std::min(line.find('#'), line.size()));
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string place = where + ":" + std::to_string(number);
    ApiKey key = parse_line(line, place);
    for (const ApiKey& other : keys.state_->keys) {
      require(other.name != key.name, "{}: the name '{}' is there twice", place, key.name);
    }
    keys.state_->keys.push_back(std::move(key));
  }
  return keys;
}

bool ApiKeys::empty() const { return state_->keys.empty(); }

const ApiKey* ApiKeys::find(std::string_view presented) const {
  const Sha256Digest hash = hash_of(presented);
  const ApiKey* found = nullptr;
  for (const ApiKey& key : state_->keys) {  // all of them, whichever matches
    if (CRYPTO_memcmp(hash.data(), key.hash.data(), hash.size()) == 0) found = &key;
  }
  return found;
}

const ApiKey* ApiKeys::named(std::string_view name) const {
  for (const ApiKey& key : state_->keys) {
    if (key.name == name) return &key;
  }
  return nullptr;
}

int ApiKeys::take_request(const ApiKey& key, std::chrono::steady_clock::time_point now) {
  if (key.requests_per_minute == 0) return 0;
  const double per_second = key.requests_per_minute / 60.0;
  const std::scoped_lock lock(state_->mutex);
  auto [entry, fresh] = state_->buckets.try_emplace(key.name);
  State::Bucket& bucket = entry->second;
  if (fresh) {
    bucket = {static_cast<double>(key.requests_per_minute), now};
  }
  const double seconds = std::chrono::duration<double>(now - bucket.filled).count();
  bucket.tokens = std::min(static_cast<double>(key.requests_per_minute),
                           bucket.tokens + std::max(0.0, seconds) * per_second);
  bucket.filled = now;
  if (bucket.tokens < 1) {
    return std::max(1, static_cast<int>(std::ceil((1 - bucket.tokens) / per_second)));
  }
  bucket.tokens -= 1;
  return 0;
}

}  // namespace seamwright::coordinator::http
