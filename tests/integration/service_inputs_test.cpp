// Jobs that start from pictures and videos, through the real service: the bits of `generate`, also
// after losses; files that are none are refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>

#include "media/child_process.h"
#include "media/files.h"
#include "media/image.h"
#include "tests/integration/serve_process.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright {
namespace {

using coordinator::http::RawResponse;
using media::TemporaryFolder;
using Json = nlohmann::json;

std::filesystem::path picture(TemporaryFolder& folder, const std::string& name, int shade) {
  media::RgbImage image(80, 48);
  for (int y = 0; y < 48; ++y) {
    for (int x = 0; x < 80; ++x) {
      auto* pixel = image.at(x, y);
      pixel[0] = static_cast<std::uint8_t>((x * 3 + shade) % 256);
      pixel[1] = static_cast<std::uint8_t>((y * 5) % 256);
      pixel[2] = static_cast<std::uint8_t>((x + y + 2 * shade) % 256);
    }
  }
  media::write_png(folder.path() / name, image.view());
  return folder.path() / name;
}

std::string bytes_of(const std::filesystem::path& file) { return media::read_file(file, 64 << 20); }

// As SDKs send it: every field as text, files as parts.
RawResponse post_form(const ServeProcess& serve, const std::string& target, const Json& fields,
                      const std::vector<std::pair<std::string, std::string>>& files) {
  std::string body;
  for (const auto& [name, value] : fields.items()) {
    body += "--BOUND\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" +
            (value.is_string() ? value.get<std::string>() : value.dump()) + "\r\n";
  }
  for (const auto& [name, bytes] : files) {
    body += "--BOUND\r\nContent-Disposition: form-data; name=\"" + name +
            "\"; filename=\"upload\"\r\nContent-Type: application/octet-stream\r\n\r\n" + bytes +
            "\r\n";
  }
  body += "--BOUND--\r\n";
  return coordinator::http::ask(serve.port(), "POST", target, body,
                                "Content-Type: multipart/form-data; boundary=BOUND\r\n");
}

// What `generate` makes of the request with these options more.
std::string generated_hash(const Json& request, const std::vector<std::string>& more) {
  TemporaryFolder folder;
  media::ChildSpec spec;
  spec.argv = {
      SEAMWRIGHT_PROGRAM,
      "generate",
      "--model",
      std::string(SEAMWRIGHT_FIXTURES "/checkpoints/") + request.at("model").get<std::string>(),
      "--prompt",
      request.at("prompt"),
      "--no-video",
      "--quiet",
      "--threads",
      "1",
      "--report",
      (folder / "r.json").string(),
      "--size",
      request.at("size").get<std::string>()};
  for (const char* name : {"frames", "window", "overlap", "steps", "seed"}) {
    if (!request.contains(name)) continue;
    spec.argv.push_back(std::string("--") + name);
    spec.argv.push_back(request.at(name).dump());
  }
  spec.argv.insert(spec.argv.end(), more.begin(), more.end());
  const auto made = media::run_child(spec, std::chrono::minutes(5));
  EXPECT_EQ(made.exit.code, 0) << made.errors;
  return Json::parse(std::ifstream(folder / "r.json")).at("latents_sha256");
}

std::string accepted(const RawResponse& answer) {
  EXPECT_EQ(answer.status, 200) << answer.body;
  return answer.status == 200 ? answer.json().at("id").get<std::string>() : "";
}

void expect_hash(ServeProcess& serve, const std::string& id, const std::string& hash) {
  const auto video = serve.wait_final(id, std::chrono::minutes(5));
  ASSERT_EQ(video.at("status"), "completed") << video.dump(2);
  EXPECT_EQ(video.at("latents_sha256"), hash);
}

bool well_begun(const Json& video) { return video.at("evaluations_done").get<int>() > 10; }

TEST(ServiceGivenFiles, AnUploadedPictureSurvivesLossesOfGangAndService) {
  TemporaryFolder folder;
  const auto file = picture(folder, "p.png", 30), last = picture(folder, "q.png", 90);
  auto request = tiny_request(60);
  request["steps"] = 6;
  std::string id;
  {
    ServeProcess serve(folder / "data");
    ASSERT_TRUE(serve.started());
    id = accepted(
        post_form(serve, "/v1/videos", request,
                  {{"input_reference", bytes_of(file)}, {"keyframes[59]", bytes_of(last)}}));
    ASSERT_FALSE(id.empty());
    serve.wait_for(id, well_begun, std::chrono::minutes(5));
    for (const pid_t pid : serve.gang_processes()) ::kill(pid, SIGKILL);
    serve.wait_for(
        id, [](const Json& v) { return v.at("attempt").get<int>() >= 2; }, std::chrono::minutes(5));
    serve.kill_now();
  }
  ServeProcess again(folder / "data");
  ASSERT_TRUE(again.started());
  expect_hash(again, id,
              generated_hash(request,
                             {"--init-image", file.string(), "--keyframe", "59=" + last.string()}));
  // A remix starts from the same picture; with the job its files go.
  const auto remix = accepted(again.ask("POST", "/v1/videos/" + id + "/remix",
                                        R"({"prompt": "a green hill", "frames": 60})"));
  EXPECT_EQ(again.ask("DELETE", "/v1/videos/" + id).status, 200);
  request["prompt"] = "a green hill";
  expect_hash(again, remix,
              generated_hash(request,
                             {"--init-image", file.string(), "--keyframe", "59=" + last.string()}));
  EXPECT_EQ(again.ask("DELETE", "/v1/videos/" + remix).status, 200);
  EXPECT_EQ(again.stop(), 0);
  EXPECT_TRUE(std::filesystem::is_empty(folder / "data/inputs"));
}

TEST(ServiceGivenFiles, VideosAreEditedAndExtended) {
  TemporaryFolder folder;
  ServeProcess serve(folder / "data", {"--window-parallel-size", "2", "--launcher", "none"});
  ASSERT_TRUE(serve.started());
  auto request = tiny_request();
  const auto source = serve.submit(request);
  ASSERT_EQ(serve.wait_final(source, std::chrono::minutes(5)).at("status"), "completed");
  const auto content = serve.ask("GET", "/v1/videos/" + source + "/content");
  const auto file = folder / "source.mp4";
  media::write_file_atomically(file, content.body);

  const auto further = accepted(
      serve.ask("POST", "/v1/videos/extensions",
                Json{{"prompt", "on"}, {"seconds", "2"}, {"video", {{"id", source}}}}.dump()));
  auto expected = request;
  expected["prompt"] = "on";
  expected["frames"] = 16;
  expect_hash(serve, further, generated_hash(expected, {"--extend", file.string()}));

  const auto edit = accepted(post_form(serve, "/v1/videos/edits",
                                       {{"prompt", "other"},
                                        {"model", request.at("model")},
                                        {"size", "64x48"},
                                        {"window", 8},
                                        {"overlap", 4},
                                        {"steps", 4},
                                        {"seed", 1}},
                                       {{"video", content.body}}));
  expected = request;
  expected["prompt"] = "other";
  expected["steps"] = 4;
  expected.erase("frames");  // as long as the video
  expect_hash(serve, edit,
              generated_hash(expected, {"--input-video", file.string(), "--strength", "0.6"}));
}

TEST(ServiceGivenFiles, WhatIsNoPictureOrVideoIsRefusedAtSubmit) {
  TemporaryFolder folder;
  ServeProcess serve(folder / "data", {"--no-local-gang"});
  ASSERT_TRUE(serve.started());
  const auto png = bytes_of(picture(folder, "p.png", 30));
  auto wide = png;
  wide.replace(16, 4, std::string("\0\1\x86\xA0", 4));  // 100,000 pixels wide
  const std::string mp4(
      "\0\0\0\x18"
      "ftypisom",
      12);
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"input_reference", "plain text"},
      {"input_reference", ""},
      {"input_reference", "#EXTM3U\n#EXTINF:1\nfile:///etc/passwd\n"},
      {"input_reference", "\x89PNG\r\n\x1a\nand then nothing"},
      {"input_reference", png.substr(0, png.size() / 2)},
      {"input_reference", wide},
      {"input_reference", mp4},
      {"keyframes[99]", png},
      {"extend", png},
      {"extend", mp4},
      {"extend", mp4 + std::string(5000, 'x')},
  };
  for (const auto& [field, bytes] : bad) {
    const auto answer = post_form(serve, "/v1/videos", tiny_request(), {{field, bytes}});
    EXPECT_EQ(answer.status, 400) << field << " " << answer.body;
    EXPECT_EQ(answer.body.find("inputs/"), std::string::npos) << answer.body;
    EXPECT_EQ(answer.body.find("root:"), std::string::npos);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder / "data/inputs"));
  EXPECT_EQ(serve.ask("GET", "/v1/videos").json().at("data").size(), 0U);
  EXPECT_EQ(post_form(serve, "/v1/videos", tiny_request(), {{"input_reference", png}}).status, 200);
}

TEST(ServiceGivenFiles, TheClientSendsThem) {
  TemporaryFolder folder;
  ServeProcess serve(folder / "data");
  ASSERT_TRUE(serve.started());
  const auto file = picture(folder, "p.png", 30);
  const auto request = tiny_request();
  media::ChildSpec spec;
  spec.argv = {SEAMWRIGHT_PROGRAM,
               "submit",
               "--server",
               "http://127.0.0.1:" + std::to_string(serve.port()),
               "--model",
               request.at("model").get<std::string>(),
               "--prompt",
               request.at("prompt"),
               "--frames",
               "23",
               "--size",
               "64x48",
               "--window",
               "8",
               "--overlap",
               "4",
               "--steps",
               "2",
               "--seed",
               "1",
               "--init-image",
               file.string(),
               "--json"};
  const auto sent = media::run_child(spec, std::chrono::minutes(2));
  ASSERT_EQ(sent.exit.code, 0) << sent.errors;
  expect_hash(serve, Json::parse(sent.output).at("id"),
              generated_hash(request, {"--init-image", file.string()}));
}

}  // namespace
}  // namespace seamwright
