// The dashboard's files as the server hands them out.
#include "coordinator/dashboard/dashboard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "tests/unit/coordinator/http/served.h"

namespace seamwright::coordinator::http {
namespace {

using testing::HasSubstr;

ServerOptions with_dashboard() {
  ServerOptions options;
  options.api.keys = ApiKeys::parse("a 0123456789abcdef", "test");
  return options;
}

TEST(Dashboard, IsServedWithoutAKeyUnderAStrictPolicy) {
  Served served(with_dashboard());
  const auto page = ask(served.port(), "GET", "/");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.headers.at("content-type"), "text/html; charset=utf-8");
  EXPECT_THAT(page.headers.at("content-security-policy"), HasSubstr("default-src 'self'"));
  EXPECT_THAT(page.body, HasSubstr("<title>Seamwright</title>"));
  const auto again =
      ask(served.port(), "GET", "/", "", "If-None-Match: " + page.headers.at("etag") + "\r\n");
  EXPECT_EQ(again.status, 304);
}

TEST(Dashboard, LoadsOnlyWhatIsThere) {
  Served served(with_dashboard());
  int files = 0;
  std::vector<std::string> todo{"/"};
  const std::regex reference("(?:src|href)=\"(/[^\"#]+)\"|from '\\./([a-z]+\\.js)'");
  for (std::size_t i = 0; i < todo.size(); ++i, ++files) {
    const auto file = ask(served.port(), "GET", todo[i]);
    ASSERT_EQ(file.status, 200) << todo[i];
    EXPECT_EQ(file.body.find("https://"), std::string::npos) << todo[i] << " names another host";
    for (std::sregex_iterator at(file.body.begin(), file.body.end(), reference), end; at != end;
         ++at) {
      const std::string found = (*at)[1].matched ? (*at)[1].str() : "/dashboard/" + (*at)[2].str();
      if (std::find(todo.begin(), todo.end(), found) == todo.end()) todo.push_back(found);
    }
  }
  EXPECT_EQ(files, static_cast<int>(dashboard_routes().size()));
}

}  // namespace
}  // namespace seamwright::coordinator::http
