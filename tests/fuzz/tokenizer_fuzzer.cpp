// A vocabulary, merges and a prompt, separated by lines of "----"; also the prompt through a fixed
// tokenizer that knows every byte, which must encode it, decode it and keep to its limit.
#include "base/prompt_schedule.h"
#include "model/text/tokenizer.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace seamwright;

constexpr std::string_view kSeparator = "\n----\n";

std::string_view next_part(std::string_view& text) {
  const auto end = text.find(kSeparator);
  const auto part = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + kSeparator.size());
  return part;
}

model::ClipTokenizer make_byte_tokenizer() {
  std::unordered_map<std::string, std::int32_t> vocabulary;
  const auto add = [&](const std::string& entry) {
    vocabulary.emplace(entry, static_cast<std::int32_t>(vocabulary.size()));
  };
  for (int byte = 0; byte < 256; ++byte) {
    add(model::byte_symbol(static_cast<unsigned char>(byte)));
    add(model::byte_symbol(static_cast<unsigned char>(byte)) + "</w>");
  }
  for (const char* entry : {"<|startoftext|>", "<|endoftext|>", "an", "an</w>", "aa", "aaa"}) {
    add(entry);
  }
  const model::Bpe::Merges merges = {{"a", "n"}, {"a", "n</w>"}, {"a", "a"}, {"aa", "a"}};
  model::Bpe bpe(std::move(vocabulary), merges, "<|endoftext|>", "fuzz");
  return {std::move(bpe), {}, 77, "fuzz"};
}

void check_prompt(const model::ClipTokenizer& tokenizer, std::string_view prompt) {
  const auto tokens = tokenizer.tokenize(prompt);
  const auto encoded = tokenizer.encode(prompt);
  if (encoded.ids.size() != tokenizer.max_tokens()) std::abort();
  if (encoded.dropped.empty() && tokens.size() + 2 != encoded.used) std::abort();
  // What is decoded is text again.
  (void)tokenizer.tokenize(tokenizer.decode(tokens));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const model::ClipTokenizer fixed = make_byte_tokenizer();
  std::string_view rest = text_of(data, size);
  const auto vocabulary = next_part(rest);
  const auto merges = next_part(rest);
  const auto prompt = rest;
  expect_clean_refusal([&] {
    model::Bpe bpe(model::parse_vocabulary(vocabulary, "vocab.json"),
                   model::parse_merges(merges, "merges.txt"), "<|endoftext|>", "vocab.json");
    const model::ClipTokenizer tokenizer(std::move(bpe), {}, 8, "vocab.json");
    check_prompt(tokenizer, prompt);
  });
  expect_clean_refusal([&] { check_prompt(fixed, prompt); });
  (void)model::prompt_weight_warning(prompt);
  return expect_clean_refusal([&] {
    const auto schedule = parse_prompt_schedule(prompt, 100);
    for (std::int64_t frame = 0; frame < 100; ++frame) {
      const auto blend = schedule.at(frame);
      const bool good = blend.to < schedule.keyframes().size() && blend.from <= blend.to &&
                        blend.weight >= 0 && blend.weight < 1;
      if (!good) std::abort();
    }
  });
}
