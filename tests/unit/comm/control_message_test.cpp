#include <gtest/gtest.h>

#include <random>

#include "base/error.h"
#include "comm/control/message.h"
#include "comm/control/proof.h"

namespace seamwright::comm {
namespace {

Bytes to_bytes(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  return {bytes.begin(), bytes.end()};
}

Bytes encode(const ControlMessage& message) {
  Bytes bytes = encode_control_head(message);
  bytes.insert(bytes.end(), message.payload.begin(), message.payload.end());
  return bytes;
}

// A frame with any header text and any announced sizes.
Bytes raw_frame(std::string_view header, std::uint64_t payload = 0) {
  Bytes bytes = to_bytes(std::string("SWC\x01", 4));
  for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<std::byte>(header.size() >> (8 * i)));
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<std::byte>(payload >> (8 * i)));
  const Bytes text = to_bytes(header);
  bytes.insert(bytes.end(), text.begin(), text.end());
  return bytes;
}

std::vector<ControlMessage> parse_all(std::span<const std::byte> bytes, std::size_t piece,
                                      const ControlLimits& limits = {}) {
  ControlParser parser(limits);
  std::vector<ControlMessage> messages;
  while (!bytes.empty()) {
    std::span<const std::byte> part = bytes.first(std::min(piece, bytes.size()));
    bytes = bytes.subspan(part.size());
    while (!part.empty()) {
      if (auto message = parser.feed(part)) messages.push_back(std::move(*message));
    }
  }
  return messages;
}

ErrorCode code_of(std::span<const std::byte> bytes, const ControlLimits& limits = {}) {
  try {
    parse_all(bytes, bytes.size(), limits);
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "parsed without an error";
  return ErrorCode::kInternal;
}

TEST(ControlMessage, RoundTripsHoweverTheStreamIsCut) {
  const ControlMessage first{{{"type", "progress"}, {"step", 3}, {"text", "gr\u00fcn"}}, {}};
  const ControlMessage second{{{"type", "frame"}}, Bytes(1000, std::byte{5})};
  Bytes stream;
  for (const ControlMessage* message : {&first, &second, &first}) {
    const Bytes bytes = encode(*message);
    stream.insert(stream.end(), bytes.begin(), bytes.end());
  }
  for (const std::size_t piece : {1UL, 3UL, 16UL, 17UL, 500UL, stream.size()}) {
    const auto messages = parse_all(stream, piece);
    ASSERT_EQ(messages.size(), 3U) << piece;
    EXPECT_EQ(messages[0].header, first.header);
    EXPECT_EQ(messages[1].type(), "frame");
    EXPECT_EQ(messages[1].payload, second.payload);
    EXPECT_EQ(messages[2].header, first.header);
    EXPECT_TRUE(messages[2].payload.empty());
  }
}

TEST(ControlMessage, HasTheBytesThatTheFormatPageShows) {
  const Bytes bytes = encode({{{"type", "x"}}, Bytes(2, std::byte{0xAB})});
  EXPECT_EQ(bytes, [] {
    Bytes expected = raw_frame(R"({"type":"x"})", 2);
    expected.resize(expected.size() + 2, std::byte{0xAB});
    return expected;
  }());
  EXPECT_EQ(bytes[4], std::byte{12});
}

TEST(ControlMessage, ParserKnowsWhereAStreamMayEnd) {
  ControlParser parser;
  EXPECT_TRUE(parser.at_boundary());
  const Bytes bytes = encode({{{"type", "x"}}, Bytes(2)});
  std::span<const std::byte> part(bytes.data(), bytes.size() - 1);
  EXPECT_FALSE(parser.feed(part).has_value());
  EXPECT_FALSE(parser.at_boundary());
  part = std::span(bytes).last(1);
  EXPECT_TRUE(parser.feed(part).has_value());
  EXPECT_TRUE(parser.at_boundary());
}

TEST(ControlMessage, RefusesWhatIsNoMessage) {
  EXPECT_EQ(code_of(to_bytes("GET / HTTP/1.1\r\nHost: x\r\n\r\n")), ErrorCode::kCorrupt);
  Bytes other_version = raw_frame(R"({"type":"x"})");
  other_version[3] = std::byte{2};
  EXPECT_EQ(code_of(other_version), ErrorCode::kCorrupt);
  for (const char* header :
       {"{", "[]", "3", "null", "{}", R"({"type":3})", R"({"type":null})", R"({"type":"x"}x)",
        "{\"type\":\"\xff\xfe\"}", R"({"type":"x","n":1e999999})", ""}) {
    EXPECT_EQ(code_of(raw_frame(header)), ErrorCode::kCorrupt) << header;
  }
}

TEST(ControlMessage, RefusesSizesAndNestingBeyondTheLimits) {
  const ControlLimits limits{64, 100, 4};
  EXPECT_EQ(code_of(raw_frame(std::string(65, ' '), 0), limits), ErrorCode::kCorrupt);
  EXPECT_EQ(code_of(raw_frame(R"({"type":"x"})", 101), limits), ErrorCode::kCorrupt);
  EXPECT_EQ(code_of(raw_frame(R"({"type":"x"})", ~0ULL), limits), ErrorCode::kCorrupt);
  EXPECT_EQ(code_of(raw_frame(R"({"type":"x","a":[[[[1]]]]})"), limits), ErrorCode::kCorrupt);
  EXPECT_EQ(parse_all(raw_frame(R"({"type":"x","a":[[1]]})"), 1000, limits).size(), 1U);
  EXPECT_THROW(encode_control_head({{{"type", "x"}}, Bytes(101)}, limits), Error);
  EXPECT_THROW(encode_control_head({{{"type", std::string(64, 'y')}}, {}}, limits), Error);
  EXPECT_THROW(encode_control_head({{{"kind", "x"}}, {}}, limits), Error);
}

TEST(ControlMessage, TextThatIsNotUtf8GoesOutReplaced) {
  // What a peer sent ends up in reasons and messages about it.
  const Bytes bytes = encode({{{"type", "link.bye"}, {"reason", "last read: '\"\xff'"}}, {}});
  const auto messages = parse_all(bytes, bytes.size());
  ASSERT_EQ(messages.size(), 1U);
  EXPECT_EQ(messages[0].header.at("reason"), "last read: '\"\xEF\xBF\xBD'");
}

TEST(ControlMessage, ADeeplyNestedHeaderIsRefusedWithoutRecursion) {
  const std::string bomb = R"({"type":"x","a":)" + std::string(500000, '[');
  EXPECT_EQ(code_of(raw_frame(bomb)), ErrorCode::kCorrupt);
}

// Every mutation either parses or throws kCorrupt: nothing else, whatever the bytes.
TEST(ControlMessage, SurvivesSeededMutations) {
  std::mt19937 draw(20261126);
  Bytes valid = encode({{{"type", "frame"}, {"job", "abc"}, {"n", {1, 2, 3}}}, Bytes(40)});
  const Bytes tail = encode({{{"type", "x"}}, {}});
  valid.insert(valid.end(), tail.begin(), tail.end());
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    Bytes bytes = valid;
    for (std::uint32_t m = draw() % 4 + 1; m > 0; --m) {
      const std::size_t at = draw() % bytes.size();
      switch (draw() % 3) {
        case 0:
          bytes[at] = static_cast<std::byte>(draw());
          break;
        case 1:
          bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(at));
          break;
        default:
          bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                       static_cast<std::byte>(draw()));
      }
    }
    try {
      parse_all(bytes, draw() % 30 + 1);
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::kCorrupt) << "mutation " << i;
      ++refused;
    }
  }
  EXPECT_GT(refused, 5000);  // the mutations do reach the checks
}

std::string hmac_hex(std::string_view key, std::string_view text) {
  return to_hex(hmac_sha256(to_bytes(key), to_bytes(text)));
}

TEST(ControlProof, HmacMatchesRfc4231) {
  EXPECT_EQ(hmac_hex(std::string(20, '\x0b'), "Hi There"),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(hmac_hex("Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(
      hmac_hex(std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First"),
      "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(ControlProof, DependsOnTokenRoleAndBothNonces) {
  const std::string proof = make_proof("token", "client", "aa", "bb");
  EXPECT_EQ(proof, make_proof("token", "client", "aa", "bb"));
  EXPECT_NE(proof, make_proof("Token", "client", "aa", "bb"));
  EXPECT_NE(proof, make_proof("token", "server", "aa", "bb"));
  EXPECT_NE(proof, make_proof("token", "client", "ab", "bb"));
  EXPECT_NE(proof, make_proof("token", "client", "aa", "ba"));
  EXPECT_NE(make_nonce(), make_nonce());
}

TEST(ControlProof, ComparesWholeTexts) {
  EXPECT_TRUE(equal_in_constant_time("abc", "abc"));
  EXPECT_TRUE(equal_in_constant_time("", ""));
  EXPECT_FALSE(equal_in_constant_time("abc", "abd"));
  EXPECT_FALSE(equal_in_constant_time("xbc", "abc"));
  EXPECT_FALSE(equal_in_constant_time("abc", "ab"));
}

}  // namespace
}  // namespace seamwright::comm
