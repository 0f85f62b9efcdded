// What is shown of hostile text is always UTF-8, short and without control bytes.
#include "base/quoted.h"

#include <gtest/gtest.h>

namespace seamwright {
namespace {

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const auto length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

TEST(InQuotes, CutsBetweenCharacters) {
  for (int lead = 0; lead < 4; ++lead) {
    for (const std::string character : {"\xe6\x9c\x9d", "\xc3\xa4", "\xf0\x9f\x8e\xac"}) {
      std::string text(static_cast<std::size_t>(lead), 'a');
      for (int i = 0; i < 100; ++i) text += character;
      const auto shown = in_quotes(text);
      EXPECT_TRUE(is_utf8(shown)) << shown;
      EXPECT_TRUE(shown.ends_with(character + "...'")) << shown;
      EXPECT_LE(shown.size(), 165U);
    }
  }
}

TEST(InQuotes, ShowsShortTextAsItIs) {
  EXPECT_EQ(in_quotes("dawn \xe6\x9c\x9d"), "'dawn \xe6\x9c\x9d'");
  EXPECT_EQ(in_quotes(std::string(160, 'x')), "'" + std::string(160, 'x') + "'");
}

TEST(InQuotes, EscapesControlBytesAndWhatIsNoUtf8) {
  EXPECT_EQ(in_quotes("a\nb\x7f"), "'a\\x0ab\\x7f'");
  EXPECT_EQ(in_quotes("\xff\xe6\x9c"), "'\\xff\\xe6\\x9c'");
  EXPECT_EQ(in_quotes("\xc0\xaf"), "'\\xc0\\xaf'");           // longer than needed
  EXPECT_EQ(in_quotes("\xed\xa0\x80"), "'\\xed\\xa0\\x80'");  // a surrogate
}

}  // namespace
}  // namespace seamwright
