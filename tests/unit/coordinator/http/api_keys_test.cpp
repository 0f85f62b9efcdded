// Who may come in, and how often.
#include "coordinator/http/api_keys.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "tests/unit/coordinator/http/served.h"

namespace seamwright::coordinator::http {
namespace {

constexpr char kAlice[] = "Authorization: Bearer alice-0123456789abcdef\r\n";
constexpr char kBob[] = "Authorization: Bearer bob-0123456789abcdefgh\r\n";
constexpr char kRoot[] = "Authorization: bearer root-0123456789abcdef\r\n";
constexpr char kFile[] =
    "# people\n"
    "alice alice-0123456789abcdef active_jobs=1\n"
    "bob   bob-0123456789abcdefgh requests_per_minute=3  # slow\n"
    "root  root-0123456789abcdef admin\n"
    "base  ab+cdEF/0123456789==\n";

ServerOptions with_keys() {
  ServerOptions options;
  options.api.keys = ApiKeys::parse(kFile, "test");
  return options;
}

TEST(ApiKeys, ReadsNamesFlagsAndLimits) {
  const ApiKeys keys = ApiKeys::parse(kFile, "test");
  ASSERT_NE(keys.find("alice-0123456789abcdef"), nullptr);
  EXPECT_EQ(keys.find("alice-0123456789abcdef")->name, "alice");
  EXPECT_EQ(keys.find("alice-0123456789abcdeX"), nullptr);
  EXPECT_EQ(keys.find(""), nullptr);
  EXPECT_EQ(keys.named("bob")->requests_per_minute, 3);
  EXPECT_TRUE(keys.named("root")->admin);
}

TEST(ApiKeys, RefusesBadFiles) {
  for (const char* bad :
       {"alice", "alice short", "a 0123456789abcdef what", "a 0123456789abcdef active_jobs=x",
        "a 0123456789abcdef\na 0123456789abcdeg", "a 0123456789abcdef admin active_jobs=2"}) {
    EXPECT_THROW(ApiKeys::parse(bad, "test"), Error) << bad;
  }
}

TEST(ApiKeys, RefusesAFileThatOthersMayRead) {
  const media::TemporaryFolder folder;
  const auto path = folder / "keys";
  std::ofstream(path) << kFile;
  using std::filesystem::perms;
  std::filesystem::permissions(path, perms::owner_read | perms::owner_write | perms::others_read);
  EXPECT_THROW(ApiKeys::from_file(path), Error);
  std::filesystem::permissions(path, perms::owner_read | perms::owner_write);
  EXPECT_FALSE(ApiKeys::from_file(path).empty());
  EXPECT_THROW(ApiKeys::from_file(folder / "none"), Error);
}

TEST(ApiKeys, LetsRequestsFlowBackWithTime) {
  ApiKeys keys = ApiKeys::parse(kFile, "test");
  const ApiKey& bob = *keys.named("bob");
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(keys.take_request(bob, start), 0);
  EXPECT_EQ(keys.take_request(bob, start), 20);
  EXPECT_EQ(keys.take_request(bob, start + std::chrono::seconds(19)), 1);
  EXPECT_EQ(keys.take_request(bob, start + std::chrono::seconds(21)), 0);
}

TEST(HttpKeys, EverythingButHealthNeedsOne) {
  Served served(with_keys());
  for (const char* target : {"/v1/videos", "/v1/models", "/v1/cluster", "/metrics", "/v1/events"}) {
    const auto response = ask(served.port(), "GET", target);
    EXPECT_EQ(response.status, 401) << target;
    EXPECT_EQ(response.json().at("error").at("code"), "invalid_api_key");
    EXPECT_EQ(response.headers.at("www-authenticate"), "Bearer");
  }
  EXPECT_EQ(ask(served.port(), "GET", "/livez").status, 200);
  EXPECT_EQ(ask(served.port(), "GET", "/v1/videos", "", kAlice).status, 200);
  EXPECT_EQ(ask(served.port(), "GET", "/v1/videos", "", "Authorization: Bearer x\r\n").status, 401);
  EXPECT_EQ(ask(served.port(), "GET", "/v1/videos", "", "Authorization: Basic x\r\n").status, 401);
  EXPECT_EQ(ask(served.port(), "GET", "/v1/videos", "",
                "Cookie: a=b; seamwright_key=alice-0123456789abcdef\r\n")
                .status,
            200);
  // As the dashboard writes it.
  EXPECT_EQ(ask(served.port(), "GET", "/v1/videos", "",
                "Cookie: seamwright_key=ab%2BcdEF%2F0123456789%3D%3D\r\n")
                .status,
            200);
  EXPECT_EQ(ask(served.port(), "GET", "/v1/videos", "", "Cookie: seamwright_key=%zz\r\n").status,
            401);
}

TEST(HttpKeys, OwnersSeeTheirOwnJobsAndAdminsAll) {
  Served served(with_keys());
  const std::string id = served.submit(kAlice);
  EXPECT_EQ(ask(served.port(), "GET", "/v1/videos/" + id, "", kAlice).status, 200);
  EXPECT_EQ(ask(served.port(), "GET", "/v1/videos/" + id, "", kBob).status, 404);
  EXPECT_EQ(ask(served.port(), "GET", "/v1/videos/" + id, "", kRoot).status, 200);
  EXPECT_EQ(ask(served.port(), "GET", "/v1/videos", "", kBob).json().at("data").size(), 0U);
  EXPECT_EQ(ask_json(served.port(), "POST", "/v1/cluster/drain", {}, kBob).status, 403);
}

TEST(HttpKeys, HoldEachKeyToItsLimits) {
  Served served(with_keys());
  for (int i = 0; i < 3; ++i) ask(served.port(), "GET", "/v1/videos", "", kBob);
  const auto refused = ask(served.port(), "GET", "/v1/videos", "", kBob);
  EXPECT_EQ(refused.status, 429);
  EXPECT_TRUE(refused.headers.contains("retry-after"));
  const std::string again = std::string(kAlice) + "Idempotency-Key: k\r\n";
  const std::string id = served.submit(again);
  EXPECT_EQ(served.submit(again), id) << "a repeat is not another job";
  const auto second = ask_json(served.port(), "POST", "/v1/videos", {{"prompt", "x"}}, kAlice);
  EXPECT_EQ(second.status, 429);
  EXPECT_EQ(second.json().at("error").at("code"), "too_many_jobs");
  ask(served.port(), "POST", "/v1/videos/" + id + "/cancel", "", kAlice);
  served.submit(kAlice);
}

TEST(HttpOrigin, OtherSitesCannotDriveAnOpenService) {
  Served served;
  const auto status = [&](const std::string& headers, const std::string& host) {
    RawClient client(served.port());
    client.send("GET /v1/videos HTTP/1.1\r\nHost: " + host + "\r\n" + headers + "\r\n");
    return client.receive().status;
  };
  EXPECT_EQ(status("", "localhost:1"), 200);
  EXPECT_EQ(status("", "[::1]:8000"), 200);
  EXPECT_EQ(status("Origin: http://localhost:1\r\n", "localhost:1"), 200);
  EXPECT_EQ(status("Origin: http://evil.example\r\n", "localhost:1"), 403);
  EXPECT_EQ(status("Origin: null\r\n", "localhost:1"), 403);
  EXPECT_EQ(status("", "evil.example"), 403);  // its name made to point here
}

TEST(HttpOrigin, AServiceMayHaveAName) {
  ServerOptions options;
  options.api.allowed_hosts = {"gpu1"};
  Served served(std::move(options));
  const auto answer = [&](const std::string& host) {
    RawClient client(served.port());
    client.send("GET /v1/videos HTTP/1.1\r\nHost: " + host + "\r\n\r\n");
    return client.receive();
  };
  EXPECT_EQ(answer("gpu1:8000").status, 200);
  const auto refused = answer("gpu2:8000");
  EXPECT_EQ(refused.status, 403);
  EXPECT_NE(refused.body.find("--allowed-host gpu2"), std::string::npos) << refused.body;
}

}  // namespace
}  // namespace seamwright::coordinator::http
