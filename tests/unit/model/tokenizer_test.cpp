#include "model/text/tokenizer.h"

#include <gmock/gmock.h>

#include "model/text/unicode.h"
#include "tests/unit/model/test_files.h"

namespace seamwright::model {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::filesystem::path kFixtures = SEAMWRIGHT_FIXTURES;

Json fixture(const std::string& name) {
  return read_json_file(kFixtures / "tokenizer" / name, {.max_bytes = 8U << 20, .max_depth = 8});
}

// vocab.json and merges.txt of the fixture, with this pad token.
void write_tokenizer(const TemporaryFolder& folder, const std::filesystem::path& from,
                     std::string_view pad) {
  for (const char* name : {"vocab.json", "merges.txt"}) {
    std::filesystem::copy_file(from / name, folder / name);
  }
  folder.write("tokenizer_config.json", fmt::format(R"({{"pad_token": "{}"}})", pad));
}

struct Reference {
  const char* ids;
  const char* folder;  // below the fixtures
  const char* pad;
};

class AgainstTransformers : public ::testing::TestWithParam<Reference> {};

TEST_P(AgainstTransformers, GivesTheSameIdsForEveryString) {
  const TemporaryFolder folder;
  write_tokenizer(folder, kFixtures / GetParam().folder, GetParam().pad);
  const ClipTokenizer tokenizer = ClipTokenizer::load(folder.path());
  const Json strings = fixture("strings.json");
  const Json wanted = fixture(GetParam().ids);
  ASSERT_EQ(strings.size(), 1000U);
  ASSERT_EQ(wanted["ids"].size(), strings.size());
  for (std::size_t i = 0; i < strings.size(); ++i) {
    const auto text = strings[i].get<std::string>();
    std::vector<std::int32_t> ids = tokenizer.tokenize(text);
    ids.insert(ids.begin(), tokenizer.start_id());
    ids.push_back(tokenizer.end_id());
    EXPECT_EQ(ids, wanted["ids"][i].get<std::vector<std::int32_t>>()) << i << ": " << text;
  }
  for (std::size_t i = 0; i < wanted["padded"].size(); ++i) {
    const EncodedPrompt prompt = tokenizer.encode(strings[i].get<std::string>());
    EXPECT_EQ(prompt.ids, wanted["padded"][i].get<std::vector<std::int32_t>>()) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Vocabularies, AgainstTransformers,
    ::testing::Values(
        Reference{"ids-clip-end.json", "tokenizer/clip", "<|endoftext|>"},
        Reference{"ids-clip-exclamation.json", "tokenizer/clip", "!"},
        Reference{"ids-tiny-end.json", "checkpoints/unetmotion3/tokenizer", "<|endoftext|>"},
        Reference{"ids-tiny-exclamation.json", "checkpoints/unetmotion3/tokenizer", "!"}));

// ---- A tokenizer small enough to follow by hand ----

// Ids: a 0, b 1, a</w> 2, b</w> 3, ab 4, ab</w> 5, start 6, end 7, ! 8, !</w> 9.
constexpr std::string_view kVocabulary =
    R"({"a": 0, "b": 1, "a</w>": 2, "b</w>": 3, "ab": 4, "ab</w>": 5, "<|startoftext|>": 6,
        "<|endoftext|>": 7, "!": 8, "!</w>": 9})";
constexpr std::string_view kMerges = "#version: 0.2\na b\na b</w>\n";

class SmallTokenizer : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_.write("vocab.json", kVocabulary);
    folder_.write("merges.txt", kMerges);
  }
  ClipTokenizer load(std::size_t max_tokens = 8) const {
    return ClipTokenizer::load(folder_.path(), max_tokens);
  }
  Error refusal() const {
    return error_of([this] { load(); });
  }
  TemporaryFolder folder_;
};

TEST_F(SmallTokenizer, FramesAndPadsAPrompt) {
  const EncodedPrompt prompt = load().encode("AB  ab!");
  EXPECT_THAT(prompt.ids, ElementsAre(6, 5, 5, 9, 7, 7, 7, 7));
  EXPECT_EQ(prompt.used, 5U);
  EXPECT_EQ(prompt.dropped, "");
}

TEST_F(SmallTokenizer, CutsALongPromptAndReportsWhatWasDropped) {
  const EncodedPrompt prompt = load().encode("a a a a a a ab b!");
  EXPECT_THAT(prompt.ids, ElementsAre(6, 2, 2, 2, 2, 2, 2, 7));
  EXPECT_EQ(prompt.used, 8U);
  EXPECT_EQ(prompt.dropped, "ab b !");
}

TEST_F(SmallTokenizer, TakesTheSmallerOfBothLimits) {
  folder_.write("tokenizer_config.json", R"({"model_max_length": 5})");
  EXPECT_EQ(load(8).max_tokens(), 5U);
  EXPECT_EQ(load(4).max_tokens(), 4U);
  folder_.write("tokenizer_config.json", R"({"model_max_length": 1e30})");
  EXPECT_EQ(load(8).max_tokens(), 8U);
  folder_.write("tokenizer_config.json", R"({"model_max_length": 0})");
  EXPECT_THAT(refusal().what(), HasSubstr("3 to 4096"));
}

TEST_F(SmallTokenizer, MergesByRankLeftmostFirst) {
  EXPECT_THAT(load().tokenize("aab"), ElementsAre(0, 5));
  EXPECT_THAT(load().tokenize("abab"), ElementsAre(4, 5));
  EXPECT_THAT(load().tokenize("aba"), ElementsAre(4, 2));
}

TEST_F(SmallTokenizer, BytesOutsideTheVocabularyBecomeTheUnknownToken) {
  EXPECT_THAT(load().tokenize("ac"), ElementsAre(0, 7));
  EXPECT_THAT(load().tokenize("\xC3\xA9"), ElementsAre(7, 7));
}

TEST_F(SmallTokenizer, PadTokenComesFromEitherFileAndEitherForm) {
  const auto pad = [this] { return load().pad_id(); };
  EXPECT_EQ(pad(), 7);  // the class default
  folder_.write("tokenizer_config.json", R"({"pad_token": "!"})");
  EXPECT_EQ(pad(), 8);
  folder_.write("special_tokens_map.json", R"({"pad_token": {"content": "ab", "lstrip": false}})");
  EXPECT_EQ(pad(), 4);  // the map wins, as in transformers
  folder_.write("special_tokens_map.json", R"({"pad_token": null})");
  EXPECT_EQ(pad(), 8);
}

TEST_F(SmallTokenizer, SpecialTokensAreCutOutOfTheRawText) {
  EXPECT_THAT(load().tokenize("a<|endoftext|>b"), ElementsAre(2, 7, 3));
  folder_.write("tokenizer_config.json", R"({"pad_token": "!"})");
  EXPECT_THAT(load().tokenize("ab!!"), ElementsAre(5, 8, 8));  // not the word "!!"
}

TEST_F(SmallTokenizer, NormalizedSpecialTokensAreFoundInAnyCase) {
  const std::string_view upper = "a <|EndOfText|> b";
  EXPECT_GT(load().tokenize(upper).size(), 3U);
  folder_.write("special_tokens_map.json",
                R"({"eos_token": {"content": "<|endoftext|>", "normalized": true},
                    "unk_token": {"content": "<|endoftext|>", "normalized": true},
                    "pad_token": {"content": "<|endoftext|>", "normalized": true}})");
  EXPECT_THAT(load().tokenize(upper), ElementsAre(2, 7, 3));
}

TEST_F(SmallTokenizer, AddedTokensOfEitherFileAreUsed) {
  folder_.write("added_tokens.json", R"({"<Style>": 10})");
  EXPECT_THAT(load().tokenize("a <style> b"), ElementsAre(2, 10, 3));
  std::filesystem::remove(folder_ / "added_tokens.json");
  folder_.write("tokenizer_config.json",
                R"({"added_tokens_decoder": {"10": {"content": "<Style>", "normalized": false}}})");
  EXPECT_THAT(load().tokenize("a <Style> b"), ElementsAre(2, 10, 3));
}

TEST_F(SmallTokenizer, ReadsTheNewerSingleFileLayout) {
  const auto wanted = load().tokenize("abab ab! <|endoftext|>");
  std::filesystem::remove(folder_ / "vocab.json");
  std::filesystem::remove(folder_ / "merges.txt");
  folder_.write("tokenizer.json",
                fmt::format(R"({{"model": {{"type": "BPE", "end_of_word_suffix": "</w>",
                    "vocab": {}, "merges": ["a b", ["a", "b</w>"]]}},
                    "added_tokens": [{{"id": 7, "content": "<|endoftext|>"}}]}})",
                            kVocabulary));
  EXPECT_EQ(load().tokenize("abab ab! <|endoftext|>"), wanted);
}

TEST_F(SmallTokenizer, DecodesWhatItEncodes) {
  const ClipTokenizer tokenizer = load();
  EXPECT_EQ(tokenizer.decode(tokenizer.tokenize("abab a b !")), "abab a b !");
}

TEST_F(SmallTokenizer, RefusesBrokenText) {
  for (const char* bad : {"\xff", "a\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80"}) {
    EXPECT_EQ(error_of([&] { load().tokenize(bad); }).code(), ErrorCode::kInvalidArgument);
  }
}

TEST_F(SmallTokenizer, LongPromptsTakeTimeInProportion) {
  const std::string long_word(200'000, 'a');
  EXPECT_EQ(load().tokenize(long_word).size(), long_word.size());
}

struct BadTokenizer {
  const char* name;
  const char* file;
  const char* content;
  const char* message;
};

class BadTokenizerFile : public SmallTokenizer,
                         public ::testing::WithParamInterface<BadTokenizer> {};

TEST_P(BadTokenizerFile, IsRefusedWithItsReasonAndName) {
  folder_.write(GetParam().file, GetParam().content);
  EXPECT_THAT(refusal().what(), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Each, BadTokenizerFile,
    ::testing::Values(
        BadTokenizer{"ListAsVocabulary", "vocab.json", "[]", "vocab.json: a vocabulary is"},
        BadTokenizer{"EmptyVocabulary", "vocab.json", "{}", "vocab.json: a vocabulary is"},
        BadTokenizer{"NegativeId", "vocab.json", R"({"a": -1})", "id of 'a'"},
        BadTokenizer{"HugeId", "vocab.json", R"({"a": 99999999999})", "id of 'a'"},
        BadTokenizer{"LargeId", "vocab.json", R"({"a": 2000000000})", "outside 0.."},
        BadTokenizer{"TextAsId", "vocab.json", R"({"a": "1"})", "id of 'a'"},
        BadTokenizer{"SharedId", "vocab.json", R"({"a": 1, "b": 1})", "both have id 1"},
        BadTokenizer{"DuplicateEntry", "vocab.json", R"({"a": 1, "a": 2})", "'a' appears twice"},
        BadTokenizer{"NoUnknown", "vocab.json", R"({"a": 1})", "unknown token"},
        BadTokenizer{"OneSymbol", "merges.txt", "#version: 0.2\nab\n", "merges.txt: line 2"},
        BadTokenizer{"ThreeSymbols", "merges.txt", "a b c\n", "merges.txt: line 1"},
        BadTokenizer{"TwoSpaces", "merges.txt", "a  b\n", "merges.txt: line 1"},
        BadTokenizer{"EmptyLine", "merges.txt", "a b\n\na b</w>\n", "merges.txt: line 2"},
        BadTokenizer{"ForeignMerge", "merges.txt", "b a\n", "the vocabulary lacks"},
        BadTokenizer{"RepeatedMerge", "merges.txt", "a b\na b\n", "appears twice"},
        BadTokenizer{"PadNotInVocabulary", "tokenizer_config.json", R"({"pad_token": "<pad>"})",
                     "'<pad>' is not in the vocabulary"},
        BadTokenizer{"PadIsNumber", "tokenizer_config.json", R"({"pad_token": 0})", "pad_token"},
        BadTokenizer{"PadWithoutContent", "special_tokens_map.json", R"({"pad_token": {}})",
                     "has no content"},
        BadTokenizer{"StrippingToken", "special_tokens_map.json",
                     R"({"pad_token": {"content": "!", "lstrip": true}})", "lstrip"},
        BadTokenizer{"AddedIdTaken", "added_tokens.json", R"({"<new>": 3})", "both have id 3"},
        BadTokenizer{"AddedIdDiffers", "added_tokens.json", R"({"a": 3})",
                     "id 0 in the vocabulary"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_F(SmallTokenizer, MissingFilesAreNamed) {
  std::filesystem::remove(folder_ / "merges.txt");
  EXPECT_THAT(refusal().what(), HasSubstr("merges.txt"));
  std::filesystem::remove(folder_ / "vocab.json");
  EXPECT_EQ(refusal().code(), ErrorCode::kNotFound);
}

// ---- Unicode ----

TEST(Unicode, ComposesAsNfcPrescribes) {
  EXPECT_EQ(compose(U"e\u0301"), U"\u00e9");
  EXPECT_EQ(compose(U"q\u0307\u0323"), U"q\u0323\u0307");  // reordered, nothing to compose
  EXPECT_EQ(compose(U"\u1100\u1161\u11a8"), U"\uac01");    // Hangul
  EXPECT_EQ(compose(U"\u212b"), U"\u00c5");                // Angstrom sign
  EXPECT_EQ(compose(U"\u0958"), U"\u0915\u093c");          // a composition exclusion
  EXPECT_EQ(compose(U"a\u0301\u0301"), U"\u00e1\u0301");
}

TEST(Unicode, LowerCaseHasNoContext) {
  EXPECT_EQ(lower_case(U"\u0391\u03a3 \u0130 \u1e9e"), U"\u03b1\u03c3 i\u0307 \u00df");
}

TEST(Unicode, Utf8RoundTripsEveryLength) {
  const std::u32string text = U"a\u00e9\u20ac\U0001f600\U0010ffff";
  EXPECT_EQ(decode_utf8(encode_utf8(text)), text);
}

TEST(SplitWords, FollowsThePattern) {
  const auto split = [](std::u32string_view text) { return split_words(text); };
  EXPECT_THAT(split(U"don't stop"), ElementsAre("don", "'t", "stop"));
  EXPECT_THAT(split(U"!!'s"), ElementsAre("!!'", "s"));
  EXPECT_THAT(split(U"4k 12"), ElementsAre("4", "k", "1", "2"));
  EXPECT_THAT(split(U"a<|endoftext|>!!"), ElementsAre("a", "<|", "endoftext", "|>", "!!"));
}

TEST(PromptWeights, AreDetectedAndNotMistakenForPlainBrackets) {
  for (const char* weighted : {"a (red:1.2) ball", "((red)) ball", "[red] ball", "(a, b: 0.8 )"}) {
    EXPECT_THAT(prompt_weight_warning(weighted), HasSubstr("not interpreted")) << weighted;
  }
  for (const char* plain :
       {"a (red) ball", "at 12:30 (noon)", "ratio 1:2", "a ball", ":)", "(: 1"}) {
    EXPECT_EQ(prompt_weight_warning(plain), "") << plain;
  }
}

}  // namespace
}  // namespace seamwright::model
