// Clients that send nonsense, too much, too slowly, or look for files.
#include <dirent.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <memory>

#include "tests/unit/coordinator/http/served.h"

namespace seamwright::coordinator::http {
namespace {

using testing::HasSubstr;

long resident_kib() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("VmRSS:")) return std::stol(line.substr(6));
  }
  return 0;
}

// 200 ways to ask for a file that is not a video's.
std::vector<std::string> traversal_names() {
  const std::vector<std::string> ups = {"..",    "%2e%2e",       "%2E.", ".%2e", "%252e%252e",
                                        "..%00", "%c0%ae%c0%ae", "..;",  "....", "%uff0e%uff0e"};
  const std::vector<std::string> slashes = {"/", "%2f", "%5c", "\\", "//"};
  const std::vector<std::string> ends = {"etc/passwd", "proc/self/environ", "C:/boot.ini",
                                         "%00.mp4"};
  std::vector<std::string> names;
  for (const auto& up : ups) {
    for (const auto& slash : slashes) {
      for (const auto& end : ends) names.push_back(up + slash + up + slash + end);
    }
  }
  return names;
}

TEST(HttpHostile, NoNameOpensAFile) {
  Served served;
  const auto names = traversal_names();
  ASSERT_EQ(names.size(), 200U);
  const std::vector<std::string> places = {"/v1/videos/{}", "/v1/videos/{}/content", "/{}",
                                           "/v1/models/{}", "/v1/videos?after={}"};
  for (const auto& name : names) {
    for (const auto& place : places) {
      std::string target = place;
      target.replace(target.find("{}"), 2, name);
      RawClient client(served.port());
      client.send(request_bytes("GET", target, "", ""));
      const auto response = client.receive();
      EXPECT_GE(response.status, 400) << target;
      EXPECT_LT(response.status, 500) << target;
      EXPECT_EQ(response.body.find("root:"), std::string::npos) << target;
    }
    nlohmann::json body = {{"prompt", "x"}, {"model", name}};
    EXPECT_EQ(ask_json(served.port(), "POST", "/v1/videos", body).status, 400) << name;
    const std::string form =
        "--B\r\nContent-Disposition: form-data; name=\"input_reference\"; filename=\"" + name +
        "\"\r\n\r\nx\r\n--B--\r\n";
    EXPECT_EQ(ask(served.port(), "POST", "/v1/videos", form,
                  "Content-Type: multipart/form-data; boundary=B\r\n")
                  .status,
              400)
        << name;
  }
}

TEST(HttpHostile, BombsAreRefusedInBoundedMemory) {
  Served served;
  ask(served.port(), "GET", "/livez");
  const long before = resident_kib();
  const std::string json = "Content-Type: application/json\r\n";
  for (int round = 0; round < 5; ++round) {
    EXPECT_EQ(ask(served.port(), "POST", "/v1/videos", std::string(8'000'000, '['), json).status,
              400);
    std::string wide = "{\"prompt\":\"x\"";
    for (int i = 0; i < 100'000; ++i) wide += ",\"k" + std::to_string(i) + "\":1";
    EXPECT_EQ(ask(served.port(), "POST", "/v1/videos", wide + "}", json).status, 400);
  }
#ifdef __SANITIZE_ADDRESS__  // which keeps 256 MB of what was freed
  constexpr long kBoundKib = 600'000;
#else
  constexpr long kBoundKib = 200'000;
#endif
  EXPECT_LT(resident_kib() - before, kBoundKib);
}

TEST(HttpHostile, WrongContentTypesAreNamed) {
  Served served;
  for (const char* type :
       {"", "Content-Type: text/plain\r\n", "Content-Type: application/xml\r\n",
        "Content-Type: image/png\r\n", "Content-Type: application/json-patch\r\n"}) {
    EXPECT_EQ(ask(served.port(), "POST", "/v1/videos", "{\"prompt\":\"x\"}", type).status, 415)
        << type;
  }
  EXPECT_EQ(
      ask(served.port(), "POST", "/v1/videos", "x", "Content-Type: multipart/form-data\r\n").status,
      400);
  EXPECT_EQ(ask(served.port(), "POST", "/v1/videos", "x", "Content-Type: ;;;\r\n").status, 400);
}

TEST(HttpHostile, TooLargeIsSaidBeforeItIsRead) {
  Served served;
  RawClient client(served.port());
  client.send(
      "POST /v1/videos HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
      "Content-Length: 99999999999\r\n\r\n");
  EXPECT_EQ(client.receive().status, 413);
  EXPECT_EQ(ask(served.port(), "GET", "/livez", std::string(100, 'x')).status, 413);
  RawClient header(served.port());
  header.send("GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + std::string(20'000, 'x') +
              "\r\n\r\n");
  EXPECT_EQ(header.receive().status, 431);
  // A body in chunks without end is cut off at the limit.
  RawClient chunks(served.port());
  chunks.send(
      "POST /v1/videos HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\n\r\n");
  const std::string chunk = "100000\r\n" + std::string(0x100000, ' ') + "\r\n";
  for (int i = 0; i < 20; ++i) chunks.send(chunk);
  EXPECT_EQ(chunks.receive().status, 413);
}

TEST(HttpHostile, AmbiguousRequestsAreRefused) {
  Served served;
  const std::string start = "POST /v1/videos HTTP/1.1\r\n";
  const std::vector<std::string> bad = {
      start + "Content-Length: 2\r\n\r\n{}",  // no host
      start + "Host: 127.0.0.1\r\nHost: 127.0.0.2\r\n\r\n",
      start + "Host: 127.0.0.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
      start + "Host: 127.0.0.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      start + "Host: 127.0.0.1\r\nTransfer-Encoding: gzip\r\n\r\n",
      start + "Host: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
      start + "Host: 127.0.0.1\r\nContent-Length: 2x\r\n\r\n{}",
      start + "Host : 127.0.0.1\r\n\r\n",
      "GET  /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
      "GET /livez HTTP/3.9\r\nHost: 127.0.0.1\r\n\r\n",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11) + std::string(50, 'x') +
          "\r\n\r\n",
      "GET http://127.0.0.1/livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
  };
  for (const auto& bytes : bad) {
    RawClient client(served.port());
    client.send(bytes);
    EXPECT_EQ(client.receive().status, 400) << bytes;
  }
  EXPECT_EQ(ask(served.port(), "GET", "/livez").status, 200);
}

TEST(HttpHostile, SlowClientsAreCutOffAndDisturbNobody) {
  ServerOptions options;
  options.limits.header_time = std::chrono::milliseconds(1500);
  Served served(std::move(options));
  std::vector<std::unique_ptr<RawClient>> slow;
  for (int i = 0; i < 300; ++i) {
    slow.push_back(std::make_unique<RawClient>(served.port()));
    slow.back()->send("GET /livez HTTP/1.1\r\nX: ");
  }
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(ask(served.port(), "GET", "/livez").status, 200);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(500));
  slow[0]->send("a");  // a byte now and then does not help
  EXPECT_TRUE(slow[0]->closed_by_peer(4000));
  EXPECT_TRUE(slow[299]->closed_by_peer(4000));
}

TEST(HttpHostile, AtTheLimitTheLongestWaitingConnectionMakesRoom) {
  ServerOptions options;
  options.limits.connections = 10;
  Served served(std::move(options));
  std::vector<std::unique_ptr<RawClient>> idle;
  for (int i = 0; i < 10; ++i) idle.push_back(std::make_unique<RawClient>(served.port()));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(ask(served.port(), "GET", "/livez").status, 200);
  EXPECT_TRUE(idle[0]->closed_by_peer(2000));
}

TEST(HttpHostile, UploadsTogetherStayUnderTheServersLimit) {
  ServerOptions options;
  options.limits.body_bytes_in_all = 20 << 20;
  Served served(std::move(options));
  const std::string head =
      "POST /v1/videos HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
      "Content-Length: 16000000\r\n\r\n";
  RawClient first(served.port()), second(served.port());
  first.send(head + "{");
  // The first must have been counted before the second asks.
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  second.send(head);
  const auto busy = second.receive();
  EXPECT_EQ(busy.status, 503);
  EXPECT_EQ(busy.headers.at("x-should-retry"), "true");
}

TEST(HttpHostile, ExpectContinueIsAnsweredOnlyWhenTheBodyIsWanted) {
  Served served;
  RawClient client(served.port());
  const std::string body = "{\"prompt\":\"x\"}";
  client.send(
      "POST /v1/videos HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
      "Expect: 100-continue\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n");
  EXPECT_THAT(client.receive_until("\r\n\r\n"), HasSubstr("100 Continue"));
  client.send(body);
  EXPECT_EQ(client.receive().status, 200);
  RawClient refused(served.port());
  refused.send(
      "POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\n"
      "Content-Length: 5\r\n\r\n");
  EXPECT_EQ(refused.receive().status, 404);
}

}  // namespace
}  // namespace seamwright::coordinator::http
