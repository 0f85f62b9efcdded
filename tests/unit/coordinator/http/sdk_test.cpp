// The bytes that the `openai` package sends (recorded, see tests/clients/record_openai.py),
// replayed in order against a fresh service: answered as they were when the package understood the
// answers.
#include <gtest/gtest.h>

#include <filesystem>

#include "media/files.h"
#include "tests/unit/coordinator/http/served.h"

namespace seamwright::coordinator::http {
namespace {

using Json = nlohmann::json;

const std::filesystem::path kRecorded =
    std::filesystem::path(SEAMWRIGHT_FIXTURES) / "sdk/openai-python";

std::string recorded(const std::string& file) {
  return media::read_file(kRecorded / file, 1 << 20);
}

void expect_shape(const std::string& name, const RawResponse& response) {
  if (response.headers.at("content-type") != "application/json") return;
  const Json body = response.json();
  if (response.status >= 400) {
    EXPECT_EQ(body.at("error").size(), 4U) << name;
  } else if (body.at("object") == "video") {
    for (const char* key :
         {"id", "model", "status", "progress", "created_at", "completed_at", "expires_at", "prompt",
          "size", "seconds", "remixed_from_video_id", "error"}) {
      EXPECT_TRUE(body.contains(key)) << name << " " << key;
    }
    EXPECT_TRUE(body.at("seconds").is_string());
  }
}

TEST(RecordedSdk, IsAnsweredAsItWas) {
  Served served;
  served.service.complete_all_with(served.file("v.mp4", std::string(5000, 'v')),
                                   std::chrono::milliseconds(0));
  const Json manifest = Json::parse(recorded("manifest.json"));
  ASSERT_GE(manifest.at("requests").size(), 20U);
  for (const Json& entry : manifest.at("requests")) {
    const std::string file = entry.at("file");
    RawClient client(served.port());
    RawResponse response;
    // The first job finishes a moment after it is accepted.
    for (int i = 0; i < 100; ++i) {
      client.send(recorded(file));
      response = client.receive();
      if (response.status != 409 || entry.at("status") == 409) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    EXPECT_EQ(response.status, entry.at("status")) << file << "\n" << response.body;
    expect_shape(file, response);
  }
}

TEST(RecordedSdk, ArrivesInEveryPieceTheNetworkMayMake) {
  Served served;
  const std::string bytes = recorded("02-create-extension-fields.http");
  for (const std::size_t piece : {1U, 7U, 500U}) {
    RawClient client(served.port());
    for (std::size_t at = 0; at < bytes.size(); at += piece) client.send(bytes.substr(at, piece));
    const auto response = client.receive();
    ASSERT_EQ(response.status, 200) << response.body;
    const Json request = response.json().at("request");
    EXPECT_EQ(request.at("seed"), 5);
    EXPECT_EQ(request.at("guidance"), 1.5);
    EXPECT_EQ(request.at("fuse"), "flat");
    EXPECT_EQ(request.at("frames"), 20);
  }
}

}  // namespace
}  // namespace seamwright::coordinator::http
