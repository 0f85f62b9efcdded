// What a video starts from, in every form a request may give it.
#include "coordinator/http/given_sources.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/unit/coordinator/http/served.h"

namespace seamwright::coordinator::http {
namespace {

using Json = nlohmann::json;
using namespace std::string_literals;

// Just enough to be taken for one here; the service looks closer.
const std::string kPng = "\x89PNG\r\n\x1a\n rest"s, kMp4 =
                                                        "\0\0\0\x18"
                                                        "ftypisom rest"s;
constexpr const char* kPngUrl = "data:image/png;base64,iVBORw0KGgogcmVzdA==";
const std::string kVideoId = "video_" + std::string(32, '0');

Submission applied(const Json& fields, std::vector<std::string> uploads = {},
                   const std::string& video_is = "") {
  Body body{fields, !uploads.empty()};
  body.fields["prompt"] = "x";
  for (auto& upload : uploads) {
    body.uploads.push_back(std::make_shared<const std::string>(std::move(upload)));
  }
  body.video_is = video_is;
  Submission submission;
  apply_body(body, submission);
  return submission;
}

std::string refusal(const Json& fields, std::vector<std::string> uploads = {}) {
  try {
    applied(fields, std::move(uploads));
  } catch (const ApiError& error) {
    return error.code + " " + error.param;
  }
  return "";
}

TEST(DataUrl, IsBase64OrNothing) {
  EXPECT_EQ(decode_data_url(kPngUrl), kPng);
  EXPECT_EQ(decode_data_url("data:;base64,YQ=="), "a");
  EXPECT_EQ(decode_data_url("data:x;base64,YWJj"), "abc");
  for (const char* bad :
       {"", "x", "data:", "data:image/png,abc", "data:image/png;base64,", "data:;base64,YQ",
        "data:;base64,YQ=", "data:;base64,YR==", "data:;base64,Y===", "data:;base64,YQ==YQ==",
        "data:;base64,Y Q=", "data:;base64,_-_-", "DATA:;base64,YQ=="}) {
    EXPECT_EQ(decode_data_url(bad), std::nullopt) << bad;
  }
}

TEST(GivenSources, AreNotWithoutNumber) {
  Json list = Json::array(), object = Json::object();
  JobRequest request;
  request.frames = 1000;
  const auto add = [&] {
    const auto frame = static_cast<std::int64_t>(list.size());
    list.push_back({{"frame", frame}, {"file", kPngUrl}});
    object[std::to_string(frame)] = kPngUrl;
    request.keyframes.push_back({frame, "picture"});
  };
  while (list.size() < kKeyframesMax) add();
  EXPECT_EQ(refusal({{"keyframes", list}, {"frames", 1000}}), "");
  EXPECT_EQ(refusal({{"keyframes", object}, {"frames", 1000}}), "");
  EXPECT_NO_THROW(validate(request));
  add();
  EXPECT_EQ(refusal({{"keyframes", list}, {"frames", 1000}}), "invalid_value keyframes");
  EXPECT_EQ(refusal({{"keyframes", object}, {"frames", 1000}}), "invalid_value keyframes");
  EXPECT_THROW(validate(request), Error);
}

TEST(GivenSources, ComeAsUploadsUrlsAndObjects) {
  const auto upload = applied({{"input_reference", upload_marker(0)}}, {kPng});
  ASSERT_EQ(upload.files.size(), 1U);
  EXPECT_EQ(*upload.files[0].bytes, kPng);
  EXPECT_THAT(upload.request.init_image, testing::StartsWith("sha256:"));
  EXPECT_EQ(upload.request.init_image, upload.files[0].name);
  for (const Json& source : {Json(kPngUrl), Json{{"image_url", kPngUrl}}}) {
    EXPECT_EQ(applied({{"input_reference", source}}).request, upload.request);
    EXPECT_EQ(applied({{"init_image", source}}).request, upload.request);
  }
}

TEST(GivenSources, KeyframesComeByNumber) {
  const std::string entry = std::string("9=") + kPngUrl;
  for (const Json& frames : {Json{{"9", kPngUrl}}, Json::array({{{"frame", 9}, {"file", kPngUrl}}}),
                             Json::array({entry})}) {
    const auto s = applied({{"keyframes", frames}});
    ASSERT_EQ(s.request.keyframes.size(), 1U);
    EXPECT_EQ(s.request.keyframes[0].frame, 9);
    EXPECT_EQ(s.files.size(), 1U);
  }
  // The same picture twice is one file.
  EXPECT_EQ(applied({{"keyframes", {{"1", kPngUrl}, {"2", kPngUrl}}}}).files.size(), 1U);
}

TEST(GivenSources, AVideoMayBeAnEarlierJobs) {
  for (const Json& source : {Json(kVideoId), Json{{"id", kVideoId}}}) {
    const auto s = applied({{"extend", source}});
    EXPECT_EQ(s.request.extend, kVideoId);
    ASSERT_EQ(s.files.size(), 1U);
    EXPECT_EQ(s.files[0].bytes, nullptr);
  }
  const auto s = applied({{"video", {{"id", kVideoId}}}, {"strength", 0.5}}, {}, "input_video");
  EXPECT_EQ(s.request.input_video, kVideoId);
  EXPECT_TRUE(s.as_long_as_input);
  EXPECT_FALSE(
      applied({{"input_video", kVideoId}, {"strength", 0.5}, {"frames", 9}}).as_long_as_input);
}

TEST(GivenSources, AreRefusedByNameWhenUnfit) {
  EXPECT_EQ(refusal({{"input_reference", {{"file_id", "f"}}}}), "unsupported input_reference");
  EXPECT_EQ(refusal({{"init_image", "https://example.org/a.png"}}), "unsupported init_image");
  EXPECT_EQ(refusal({{"init_image", "a.png"}}), "invalid_value init_image");
  EXPECT_EQ(refusal({{"init_image", kVideoId}}), "invalid_value init_image");
  EXPECT_EQ(refusal({{"init_image", 5}}), "invalid_value init_image");
  EXPECT_EQ(refusal({{"init_image", {{"upload", 0}}}}), "invalid_value init_image");
  EXPECT_EQ(refusal({{"init_image", upload_marker(0)}}, {"not a picture"}),
            "invalid_value init_image");
  EXPECT_EQ(refusal({{"init_image", upload_marker(0)}}, {kMp4}), "invalid_value init_image");
  EXPECT_EQ(refusal({{"extend", upload_marker(0)}}, {"\xFF\xD8\xFF"}), "invalid_value extend");
  EXPECT_EQ(refusal({{"extend", {{"id", "video_1"}}}}), "not_found ");
  EXPECT_EQ(refusal({{"keyframes", {{"-1", kPngUrl}}}}), "invalid_value keyframes");
  EXPECT_EQ(refusal({{"keyframes", {{"64", kPngUrl}}}}), "invalid_value keyframe");
  EXPECT_EQ(refusal({{"keyframes", 7}}), "invalid_value keyframes");
  EXPECT_EQ(refusal({{"init_image", kPngUrl}, {"input_reference", kPngUrl}}),
            "conflict input_reference");
  EXPECT_EQ(refusal({{"strength", 0.5}}), "conflict strength");
  EXPECT_EQ(refusal({{"input_video", kVideoId}}), "invalid_value input_video");
  EXPECT_EQ(refusal({{"video", kVideoId}}), "unknown_field video");
  EXPECT_EQ(refusal({{"prompt", upload_marker(0)}}, {kPng}), "");  // replaced by the helper
  EXPECT_EQ(refusal({{"negative_prompt", upload_marker(0)}}, {kPng}),
            "invalid_value negative_prompt");
}

TEST(GivenSources, EditsAndExtensionsKeepTheRestOfAnEarlierRequest) {
  Served served;
  const auto source = ask_json(served.port(), "POST", "/v1/videos",
                               {{"prompt", "a"}, {"seed", 9}, {"frames", 30}, {"size", "64x48"}})
                          .json();
  const Json video = {{"id", source.at("id")}};
  const auto edit =
      ask_json(served.port(), "POST", "/v1/videos/edits", {{"prompt", "b"}, {"video", video}});
  ASSERT_EQ(edit.status, 200) << edit.body;
  EXPECT_EQ(edit.json().at("request").at("input_video"), source.at("id"));
  EXPECT_EQ(edit.json().at("request").at("strength"), 0.6);
  EXPECT_EQ(edit.json().at("request").at("seed"), 9);
  EXPECT_EQ(edit.json().at("remixed_from_video_id"), source.at("id"));
  const auto further = ask_json(served.port(), "POST", "/v1/videos/extensions",
                                {{"prompt", "c"}, {"video", video}, {"seconds", "4"}});
  ASSERT_EQ(further.status, 200) << further.body;
  EXPECT_EQ(further.json().at("request").at("extend"), source.at("id"));
  EXPECT_EQ(further.json().at("request").at("frames"), 32);
  EXPECT_EQ(further.json().at("size"), "64x48");
  const Json nobody = {{"id", "video_" + std::string(32, 'f')}};
  for (const char* route : {"/v1/videos/edits", "/v1/videos/extensions"}) {
    EXPECT_EQ(ask_json(served.port(), "POST", route, {{"prompt", "b"}, {"video", nobody}}).status,
              404);
    EXPECT_EQ(ask_json(served.port(), "POST", route, {{"prompt", "b"}}).status, 400);
    EXPECT_EQ(ask_json(served.port(), "POST", route,
                       {{"prompt", "b"}, {"video", video}, {"init_image", kPngUrl}})
                  .status,
              400);
  }
}

TEST(GivenSources, FormsBringThemAsParts) {
  Served served;
  const std::string form =
      "--B\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\nx\r\n"
      "--B\r\nContent-Disposition: form-data; name=\"keyframes[5]\"; "
      "filename=\"../../etc/passwd\"\r\nContent-Type: image/png\r\n\r\n" +
      kPng + "\r\n--B--\r\n";
  const auto response = ask(served.port(), "POST", "/v1/videos", form,
                            "Content-Type: multipart/form-data; boundary=B\r\n");
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(response.json().at("request").at("keyframes").at(0).at("frame"), 5);
  EXPECT_EQ(response.body.find("passwd"), std::string::npos);
}

TEST(GivenSources, AFileNeedsNoFileNameWhereOnlyAFileMakesSense) {
  Served served;
  const auto send = [&](const std::string& field, const std::string& bytes) {
    return ask(served.port(), "POST", "/v1/videos",
               "--B\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\nx\r\n"
               "--B\r\nContent-Disposition: form-data; name=\"" +
                   field + "\"\r\n\r\n" + bytes + "\r\n--B--\r\n",
               "Content-Type: multipart/form-data; boundary=B\r\n");
  };
  for (const char* field : {"input_reference", "init_image", "keyframes[5]"}) {
    EXPECT_EQ(send(field, kPng).status, 200) << field;
    EXPECT_EQ(send(field, "plain text").status, 400) << field;
  }
  EXPECT_EQ(send("negative_prompt", kPng).status, 400);
}

TEST(GivenSources, FormsBringEarlierVideosAsJson) {
  Served served;
  const auto id = served.submit();
  const auto send = [&](const std::string& video) {
    const std::string form =
        "--B\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\nx\r\n"
        "--B\r\nContent-Disposition: form-data; name=\"video\"\r\n\r\n" +
        video + "\r\n--B--\r\n";
    return ask(served.port(), "POST", "/v1/videos/extensions", form,
               "Content-Type: multipart/form-data; boundary=B\r\n");
  };
  const auto response = send("{\"id\": \"" + id + "\"}");
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(response.json().at("request").at("extend"), id);
  EXPECT_EQ(send("{\"id\": \"video_" + std::string(32, 'f') + "\"}").status, 404);
  for (const std::string bad : {"{\"id\": ", "{}", "{\"id\": 7}", "{\"file_id\": \"f\"}"}) {
    EXPECT_EQ(send(bad).status, 400) << bad;
  }
  EXPECT_EQ(send("{" + std::string(300'000, ' ') + "}").status, 400);
}

}  // namespace
}  // namespace seamwright::coordinator::http
