#include "base/request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace seamwright {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "no error";
}

TEST(JobRequest, DefaultsAreValidAndSurviveJson) {
  JobRequest request;
  request.prompt = "a red circle";
  request.seed = 0xffffffffffffffffULL;
  validate(request);
  EXPECT_EQ(job_request_from_json(to_json(request)), request);
}

TEST(JobRequest, NamesAnUnknownFieldAndTheKnownOnes) {
  const auto text = message_of([] { job_request_from_json(Json{{"promt", "x"}}); });
  EXPECT_THAT(text, HasSubstr("unknown field 'promt'"));
  EXPECT_THAT(text, HasSubstr("prompt"));
}

TEST(JobRequest, SaysWhatAChoiceAllows) {
  JobRequest request;
  request.fuse = "blend";
  EXPECT_THAT(message_of([&] { validate(request); }),
              HasSubstr("fuse is 'blend', but must be one of: flat pyramid overlap-linear"));
  request = {};
  request.sampler = "nonesuch";
  EXPECT_THAT(message_of([&] { validate(request); }), HasSubstr("must be one of: ddim euler "));
}

TEST(JobRequest, SaysWhichTextIsNoUtf8) {
  JobRequest request;
  request.prompt = "a red circle \xf0\x9f\x9a\x80";
  validate(request);
  request.negative_prompt = "blur\xc3";
  EXPECT_THAT(message_of([&] { validate(request); }),
              HasSubstr("negative_prompt is no UTF-8 text from its byte 4 on"));
}

TEST(JobRequest, RefusesValuesOutOfRange) {
  const auto refused = [](auto change, const char* expected) {
    JobRequest request;
    change(request);
    EXPECT_THAT(message_of([&] { validate(request); }), HasSubstr(expected));
  };
  refused([](JobRequest& r) { r.frames = 0; }, "frames is 0");
  refused([](JobRequest& r) { r.frames = -5; }, "frames is -5");
  refused([](JobRequest& r) { r.frames = INT64_MAX; }, "frames is");
  refused([](JobRequest& r) { r.window = 16, r.overlap = 16; }, "overlap is 16");
  refused([](JobRequest& r) { r.overlap = 1024; }, "overlap is 1024");
  refused([](JobRequest& r) { r.fps = std::nan(""); }, "fps");
  refused([](JobRequest& r) { r.width = 15, r.height = 64; }, "width is 15");
  refused([](JobRequest& r) { r.prompt = std::string(40000, 'a'); }, "prompt has 40000 bytes");
  refused([](JobRequest& r) { r.coherence = "causal", r.window_schedule = "looped"; }, "causal");
}

TEST(JobRequest, RefusesWrongJsonTypes) {
  EXPECT_THAT(message_of([] {
                job_request_from_json(Json{{"frames", "12"}});
              }),
              HasSubstr("frames must be a whole number"));
  EXPECT_THAT(message_of([] {
                job_request_from_json(Json{{"seed", -1}});
              }),
              HasSubstr("seed must not be negative"));
  EXPECT_THAT(message_of([] {
                job_request_from_json(Json{{"window", 1LL << 40}});
              }),
              HasSubstr("window is out of range"));
  EXPECT_THAT(message_of([] { job_request_from_json(Json::array()); }), HasSubstr("JSON object"));
}

TEST(JobRequest, TakesCommunityNamesAndSize) {
  const auto request = job_request_from_json(
      Json{{"context_length", 12}, {"context_overlap", 4}, {"size", "640x384"}});
  EXPECT_EQ(request.window, 12);
  EXPECT_EQ(request.overlap, 4);
  EXPECT_EQ(request.width, 640);
  EXPECT_EQ(request.height, 384);
  EXPECT_THAT(message_of([] {
                job_request_from_json(Json{{"size", "640by384"}});
              }),
              HasSubstr("WIDTHxHEIGHT"));
}

TEST(JobRequest, LoraIsAFileAndAScale) {
  EXPECT_EQ(parse_lora("a.safetensors:0.8"), (LoraRequest{"a.safetensors", 0.8}));
  EXPECT_EQ(parse_lora("a.safetensors"), (LoraRequest{"a.safetensors", 1}));
  EXPECT_EQ(parse_lora("c:/a.safetensors"), (LoraRequest{"c:/a.safetensors", 1}));
  EXPECT_EQ(parse_lora("a.safetensors:-1"), (LoraRequest{"a.safetensors", -1}));
  const auto r = job_request_from_json(
      nlohmann::json::parse(R"({"lora": ["a:0.5", {"file": "b", "scale": 2}, {"file": "c"}]})"));
  EXPECT_EQ(r.lora, (std::vector<LoraRequest>{{"a", 0.5}, {"b", 2}, {"c", 1}}));
  EXPECT_EQ(job_request_from_json(to_json(r)), r);
  for (const char* bad : {R"({"lora": "a"})", R"({"lora": [1]})", R"({"lora": [{"scale": 1}]})",
                          R"({"lora": [{"file": "a", "weight": 1}]})"}) {
    EXPECT_THROW(job_request_from_json(nlohmann::json::parse(bad)), Error) << bad;
  }
  JobRequest far;
  far.lora = {{"a", 1e9}};
  EXPECT_THROW(validate(far), Error);
}

TEST(JobRequest, GivenFramesAreReadBackAndChecked) {
  const auto r = job_request_from_json(nlohmann::json::parse(
      R"({"init_image": "a.png", "keyframes": ["9=b.png", {"frame": 30, "file": "c=d.png"}]})"));
  EXPECT_EQ(r.keyframes, (std::vector<KeyframeRequest>{{9, "b.png"}, {30, "c=d.png"}}));
  EXPECT_EQ(job_request_from_json(to_json(r)), r);
  EXPECT_NO_THROW(validate(r));
  EXPECT_TRUE(has_known_frames(r));
  EXPECT_FALSE(is_video_to_video(r));
  for (const char* bad :
       {R"({"keyframes": ["9"]})", R"({"keyframes": ["x=a"]})", R"({"keyframes": ["64=a"]})",
        R"({"init_image": "a", "keyframes": ["0=b"]})",
        R"({"keyframes": [{"frame": -1, "file": "a"}]})", R"({"missing": "4"})",
        R"({"input_video": "v", "missing": "4-"})", R"({"input_video": "v", "missing": "5-4"})",
        R"({"input_video": "v", "missing": "4,4"})", R"({"input_video": "v", "missing": "60-64"})",
        R"({"input_video": "v", "missing": "0-63"})", R"({"input_video": "v"})",
        R"({"input_video": "v", "strength": 0})",
        R"({"input_video": "v", "strength": 0.5, "missing": "4"})", R"({"strength": 0.5})",
        R"({"input_every": 2})", R"({"extend": "v", "init_image": "a"})",
        R"({"init_image": "a", "frames": 1})"}) {
    EXPECT_THROW(validate(job_request_from_json(nlohmann::json::parse(bad))), Error) << bad;
  }
}

TEST(JobRequest, RefusesKeyframedPromptsThatCannotBe) {
  const auto message = [](const std::string& prompt) {
    JobRequest request;
    request.prompt = prompt;
    return message_of([&] { validate(request); });
  };
  EXPECT_EQ(message("0: dawn / 48: night"), "no error");
  EXPECT_THAT(message("0: dawn / 64: night"), HasSubstr("keyframe at '64'"));
  EXPECT_THAT(message("8: dawn / 8: night"), HasSubstr("must ascend"));
  std::string long_tail = "0: dawn / ";
  for (int i = 0; i < 60; ++i) long_tail += "\xe6\x9c\x9d";
  const auto text = message(long_tail);
  EXPECT_THAT(text, HasSubstr("a slash begins a keyframe"));
  EXPECT_NO_THROW(Json(text).dump());  // it goes to clients
}

}  // namespace
}  // namespace seamwright
