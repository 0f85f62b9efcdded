// Targets, forms, JSON, ranges: what is taken and what is refused.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/http/errors.h"
#include "coordinator/http/json_body.h"
#include "coordinator/http/multipart.h"
#include "coordinator/http/range.h"
#include "coordinator/http/submission_body.h"
#include "coordinator/http/url.h"
#include "coordinator/http/video_object.h"

namespace seamwright::coordinator::http {
namespace {

using Json = nlohmann::json;
using testing::ElementsAre;

// The code of the refusal, or "" when there is none.
template <class Call>
std::string refusal(Call&& call) {
  try {
    call();
  } catch (const ApiError& error) {
    EXPECT_GE(error.status, 400);
    EXPECT_LT(error.status, 500);
    return error.code;
  }
  return "";
}

TEST(Url, DecodesPathAndQuery) {
  const Target target = parse_target("/v1/models/demo%2Ffew_step?after=a%20b&order=c+d&flag");
  EXPECT_THAT(target.path, ElementsAre("v1", "models", "demo/few_step"));
  EXPECT_EQ(target.query.at("after"), "a b");
  EXPECT_EQ(target.query.at("order"), "c d");
  EXPECT_EQ(target.query.at("flag"), "");
  EXPECT_TRUE(parse_target("/").path.empty());
}

TEST(Url, RefusesWhatCouldMeanAnotherPath) {
  for (const char* bad : {"", "v1", "//v1", "/v1/", "/v1/../x", "/v1/%2e%2e/x", "/v1/./x", "/a%",
                          "/a%4", "/a%zz", "/a%00", "/a%0d%0a", "/a%ff", "/a%c0%af", "*"}) {
    EXPECT_NE(refusal([&] { parse_target(bad); }), "") << bad;
  }
  EXPECT_EQ(refusal([&] { parse_target("/a?x=1&x=2"); }), "repeated_parameter");
}

TEST(Url, KnowsUtf8) {
  EXPECT_TRUE(is_utf8("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"));
  for (const char* bad : {"\x80", "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF5\x80\x80\x80",
                          "\xC3", "\xF0\x9F\x98"}) {
    EXPECT_FALSE(is_utf8(bad));
  }
}

std::string part(const std::string& headers, const std::string& value) {
  return "--B\r\n" + headers + "\r\n\r\n" + value + "\r\n";
}
std::string named(const std::string& name, const std::string& value) {
  return part("Content-Disposition: form-data; name=\"" + name + "\"", value);
}

TEST(Multipart, ReadsPartsInOrder) {
  const std::string body = named("prompt", "a\r\nb") +
                           part(
                               "content-type: image/PNG\r\nContent-Disposition: form-data; "
                               "name=\"f\\\"x\"; filename=\"../../etc/passwd\"",
                               std::string("\0--B \r\n", 7)) +
                           named("empty", "") + "--B--\r\n";
  const auto parts = parse_multipart(body, "B");
  ASSERT_EQ(parts.size(), 3U);
  EXPECT_EQ(parts[0].name, "prompt");
  EXPECT_EQ(parts[0].value, "a\r\nb");
  EXPECT_FALSE(parts[0].filename);
  EXPECT_EQ(parts[1].name, "f\"x");
  EXPECT_EQ(parts[1].filename, "../../etc/passwd");
  EXPECT_EQ(parts[1].content_type, "image/png");
  EXPECT_EQ(parts[1].value.size(), 7U);
  EXPECT_EQ(parts[2].value, "");
}

TEST(Multipart, TakesAFormWithoutParts) { EXPECT_TRUE(parse_multipart("--B--\r\n", "B").empty()); }

TEST(Multipart, RefusesBadGrammar) {
  const std::string good = named("a", "1");
  const std::vector<std::string> bad = {
      "",
      "--B",
      good,                     // no closing boundary
      "x" + good + "--B--",     // does not start with the boundary
      good + "--B--\r\nx",      // something follows
      "--B\r\n\r\n1\r\n--B--",  // no name
      part("Content-Disposition: form-data", "1") + "--B--",
      part("Content-Disposition: attachment; name=\"a\"", "1") + "--B--",
      part("Content-Disposition: form-data; name=\"a", "1") + "--B--",
      part("Content-Disposition: form-data; name=\"\"", "1") + "--B--",
      part("Content-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64", "1") +
          "--B--",
      part("X: " + std::string(5000, 'x'), "1") + "--B--",
      part(": x\r\nContent-Disposition: form-data; name=\"a\"", "1") + "--B--",
  };
  for (const auto& body : bad) {
    EXPECT_NE(refusal([&] { parse_multipart(body, "B"); }), "") << body;
  }
  std::string many;
  for (int i = 0; i < 129; ++i) many += named(fmt::format("a{}", i), "1");
  EXPECT_EQ(refusal([&] { parse_multipart(many + "--B--", "B"); }), "bad_multipart");
  EXPECT_EQ(refusal([&] { parse_multipart("--", ""); }), "bad_multipart");
}

TEST(MediaType, ReadsParameters) {
  const auto type = parse_media_type("Multipart/Form-Data; charset=utf-8 ; Boundary=\"a b\"");
  EXPECT_EQ(type.type, "multipart/form-data");
  EXPECT_EQ(type.parameter("boundary"), "a b");
  EXPECT_FALSE(type.parameter("x"));
  for (const char* bad : {"", ";", "a/b; c", "a/b; c=", "a/b; c=\"x", "a/b; c=1; c=2", "a/b x"}) {
    EXPECT_EQ(refusal([&] { parse_media_type(bad); }), "bad_header") << bad;
  }
}

TEST(JsonBody, RefusesBombsAndRepeats) {
  EXPECT_EQ(parse_json("{\"a\":[1,{\"b\":\"[[[[[[[[[[[[[[[[[[[[\"}]}").at("a")[0], 1);
  EXPECT_EQ(refusal([] { parse_json(std::string(1'000'000, '[')); }), "json_too_deep");
  EXPECT_EQ(refusal([] { parse_json("{\"a\":1,\"a\":2}"); }), "repeated_field");
  for (const char* bad : {"", "{", "{\"a\":}", "nul", "{} x", "\"\xff\"", "'a'", "[1,]"}) {
    EXPECT_EQ(refusal([&] { parse_json(bad); }), "bad_json") << bad;
  }
}

TEST(FormFields, NestAsNamesSay) {
  Json fields;
  set_form_field(fields, "a[b]", "1");
  set_form_field(fields, "a[c][]", "2");
  set_form_field(fields, "a[c][]", "3");
  EXPECT_EQ(fields, Json({{"a", {{"b", "1"}, {"c", {"2", "3"}}}}}));
  for (const char* bad : {"", "a[b", "a]b", "[a]", "a[b]c", "a", "a[b][d]", "a[]"}) {
    EXPECT_NE(refusal([&] {
                Json copy = fields;
                set_form_field(copy, bad, "x");
              }),
              std::string(bad) == "a]b" ? "x" : "")
        << bad;
  }
  std::string deep = "a";
  for (int i = 0; i < 20; ++i) deep += "[b]";
  EXPECT_EQ(refusal([&] { set_form_field(fields, deep, "x"); }), "bad_field_name");
}

TEST(Ranges, FollowTheStandard) {
  const auto expect = [](const char* header, RangeKind kind, std::uint64_t offset,
                         std::uint64_t length) {
    const ByteRange range = parse_range(header, 100);
    EXPECT_EQ(range.kind, kind) << header;
    EXPECT_EQ(range.offset, offset) << header;
    EXPECT_EQ(range.length, length) << header;
  };
  using enum RangeKind;
  expect("bytes=0-9", kPart, 0, 10);
  expect("bytes=90-", kPart, 90, 10);
  expect("bytes=90-500", kPart, 90, 10);
  expect("bytes=-10", kPart, 90, 10);
  expect("bytes=-500", kPart, 0, 100);
  expect("bytes=100-", kUnsatisfiable, 0, 0);
  expect("bytes=-0", kUnsatisfiable, 0, 0);
  // Not understood: the whole file, as the standard asks.
  for (const char* odd : {"", "bytes", "bytes=", "bytes=5-1", "bytes=a-b", "bytes=1-2,4-5",
                          "lines=1-2", "bytes=99999999999999999999-", "bytes=+1-2"}) {
    expect(odd, kWhole, 0, 100);
  }
  EXPECT_EQ(parse_range("bytes=0-", 0).kind, kUnsatisfiable);
}

TEST(VideoObject, WritesSecondsWithoutTrailingZeros) {
  EXPECT_EQ(seconds_text(32, 8), "4");
  EXPECT_EQ(seconds_text(33, 8), "4.125");
  EXPECT_EQ(seconds_text(1, 3), "0.333");
}

std::string body_refusal(const Json& fields, bool text = false, std::string* param = nullptr) {
  try {
    Submission submission;
    apply_body({fields, text}, submission);
  } catch (const ApiError& error) {
    if (param != nullptr) *param = error.param;
    return error.code;
  }
  return "";
}

TEST(SubmissionBody, NamesTheFieldThatIsWrong) {
  const std::vector<std::pair<std::string, Json>> cases = {
      {"prompt", ""},
      {"prompt", 5},
      {"prompt", std::string(32001, 'x')},
      {"frames", 0},
      {"frames", "5"},
      {"frames", 1.5},
      {"frames", 1e30},
      {"fps", 0},
      {"fps", "8"},
      {"steps", -1},
      {"steps", 1001},
      {"guidance", 1000},
      {"seed", -1},
      {"seed", 1e18},
      {"window", -1},
      {"window", 1025},
      {"fuse", "smooth"},
      {"coherence", nullptr},
      {"size", "64"},
      {"size", "8x8"},
      {"size", "64x9999"},
      {"width", 64},
      {"model", "../secret"},
      {"model", "/etc"},
      {"model", "a//b"},
      {"model", "a/../b"},
      {"seconds", "four"},
      {"seconds", "0"},
      {"seconds", 0},
      {"seconds", "99999"},
      {"priority", 101},
      {"endless", "true"},
      {"deadline", 1},
      {"input_reference", "x"},
      {"vae", "x"},
      {"lora", {"x"}},
      {"tokenizer", "x"},
      {"motion_adapter", "x"},
      {"lora", Json::array({"/etc/passwd"})},
      {"init_image", "/etc/passwd"},
      {"input_video", "x"},
      {"nonsense", 1},
      {"precision", "fp64"},
      {"overlap", 1024},
  };
  for (const auto& [field, value] : cases) {
    Json fields = {{"prompt", "x"}};
    fields[field] = value;
    std::string param;
    EXPECT_NE(body_refusal(fields, false, &param), "") << field << " " << value;
    EXPECT_EQ(param, field) << value;
  }
  std::string param;
  EXPECT_EQ(body_refusal(Json::object(), false, &param), "missing_field");
  EXPECT_EQ(param, "prompt");
}

TEST(SubmissionBody, FormsCarryNumbersAsText) {
  EXPECT_EQ(
      body_refusal({{"prompt", "x"}, {"frames", "5"}, {"fps", "2.5"}, {"endless", "false"}}, true),
      "");
  EXPECT_EQ(body_refusal({{"prompt", "x"}, {"frames", "5x"}}, true), "invalid_value");
  EXPECT_EQ(body_refusal({{"prompt", "x"}, {"frames", " 5"}}, true), "invalid_value");
  EXPECT_EQ(body_refusal({{"prompt", "x"}, {"fps", "nan"}}, true), "invalid_value");
  EXPECT_EQ(body_refusal({{"prompt", "x"}, {"endless", "1"}}, true), "invalid_value");
}

TEST(SubmissionBody, WholeNumbersMayBeWrittenWithAFraction) {
  Submission submission;
  apply_body({{{"prompt", "x"}, {"seed", 9007199254740991.0}, {"frames", 5.0}}, false}, submission);
  EXPECT_EQ(submission.request.seed, 9007199254740991U);
  EXPECT_EQ(submission.request.frames, 5);
  EXPECT_EQ(body_refusal({{"prompt", "x"}, {"seed", 9007199254740992.0}}), "invalid_value");
}

// The document must not promise what a request is refused for.
TEST(SubmissionBody, TheRateOfAnInputVideoIsItsOwnOrNotTooSlow) {
  const auto schema = field_schema(*find_request_field("input_fps"));
  EXPECT_EQ(schema.at("anyOf"), Json::parse(R"([{"const": 0}, {"minimum": 0.1}])"));
  EXPECT_EQ(schema.at("maximum"), 240);
}

TEST(SubmissionBody, SecondsAreFramesAtTheGivenRate) {
  Submission submission;
  apply_body({{{"prompt", "x"}, {"seconds", "2.5"}, {"fps", 10}}, false}, submission);
  EXPECT_EQ(submission.request.frames, 25);
  Submission both;
  apply_body({{{"prompt", "x"}, {"seconds", "2"}, {"frames", 3}}, false}, both);
  EXPECT_EQ(both.request.frames, 3) << "frames is exact";
}

TEST(SubmissionBody, RefusesFieldsThatOnlyFailTogether) {
  EXPECT_EQ(body_refusal({{"prompt", "x"}, {"coherence", "causal"}, {"window_schedule", "looped"}}),
            "invalid_value");
}

}  // namespace
}  // namespace seamwright::coordinator::http
