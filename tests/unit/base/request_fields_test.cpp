// The table of fields against the request it describes.
#include "base/request_fields.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/request.h"

namespace seamwright {
namespace {

bool allowed(const std::string& field, const nlohmann::json& value) {
  nlohmann::json document = to_json(JobRequest{});
  document["window"] = 1024;  // so that overlap may be anything
  if (field == "width" || field == "height") document["width"] = document["height"] = 64;
  document[field] = value;
  if (field == "window") document["overlap"] = -1;
  try {
    validate(job_request_from_json(document));
  } catch (const Error&) {
    return false;
  }
  return true;
}

TEST(RequestFields, NameEveryFieldOfARequest) {
  const nlohmann::json document = to_json(JobRequest{});
  EXPECT_EQ(job_request_fields().size(), document.size());
  for (const auto& field : job_request_fields()) {
    ASSERT_TRUE(document.contains(std::string(field.name))) << field.name;
    const auto& value = document.at(std::string(field.name));
    const auto kind = field.kind;
    EXPECT_EQ(value.is_string(), kind == FieldKind::kText || kind == FieldKind::kFile)
        << field.name;
    EXPECT_EQ(value.is_array(), kind == FieldKind::kList || kind == FieldKind::kFiles)
        << field.name;
    EXPECT_EQ(value.is_number_integer(), field.kind == FieldKind::kInteger) << field.name;
    EXPECT_FALSE(field.help.empty());
  }
  for (const auto& choice : job_request_choices()) {
    EXPECT_NE(find_request_field(choice.field), nullptr) << choice.field;
  }
}

TEST(RequestFields, HaveTheRangesThatValidateChecks) {
  for (const auto& field : job_request_fields()) {
    const std::string name(field.name);
    if (field.local || field.given) continue;  // what they allow depends on each other
    if (field.kind == FieldKind::kInteger && name != "seed") {
      const auto low = static_cast<std::int64_t>(field.low);
      const auto high = static_cast<std::int64_t>(field.high);
      EXPECT_TRUE(allowed(name, low)) << name;
      EXPECT_TRUE(allowed(name, high)) << name;
      // Width and height below their range ask for the model's own.
      EXPECT_FALSE(allowed(name, low - 1)) << name;
      EXPECT_FALSE(allowed(name, high + 1)) << name;
    } else if (field.kind == FieldKind::kNumber) {
      EXPECT_TRUE(allowed(name, field.low)) << name;
      EXPECT_TRUE(allowed(name, field.high)) << name;
      EXPECT_FALSE(allowed(name, field.high + 1)) << name;
    }
  }
}

}  // namespace
}  // namespace seamwright
