// CLIP's tokenizer: text to token ids, byte-level BPE, exactly as transformers' CLIPTokenizer.
// Threads: const after loading.
//
// The order of operations: special tokens are cut out of the raw text; each piece between them goes
// through NFC, runs of white space to one space, lower case; then it is split into contractions,
// runs of letters, single digits and runs of other symbols; each of these is encoded as a word.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/config_json.h"
#include "model/text/bpe.h"

namespace seamwright::model {

// A token that stands for itself in text instead of being split.
struct SpecialToken {
  std::string text;
  bool normalized = false;  // looked for after NFC and lower case instead of before
};

struct SpecialTokens {
  SpecialToken start{"<|startoftext|>"};
  SpecialToken end{"<|endoftext|>"};
  SpecialToken unknown{"<|endoftext|>"};
  SpecialToken pad{"<|endoftext|>"};  // attended like any other token: the right one matters
  std::vector<SpecialToken> more;     // added to the vocabulary by the file
  std::size_t max_tokens = SIZE_MAX;  // model_max_length, where the file limits prompts
};

struct EncodedPrompt {
  std::vector<std::int32_t> ids;  // start, tokens, end, padding: exactly max_tokens() of them
  std::size_t used = 0;           // how many are not padding
  std::string dropped;            // the text behind the cut; empty when all fitted
};

class ClipTokenizer {
 public:
  // Reads vocab.json and merges.txt, or tokenizer.json where only that is there, and the special
  // tokens from special_tokens_map.json, tokenizer_config.json and added_tokens.json. Prompts take
  // `max_tokens`, or the model_max_length of tokenizer_config.json where that is less.
  static ClipTokenizer load(const std::filesystem::path& folder, std::size_t max_tokens = 77);
  ClipTokenizer(Bpe bpe, const SpecialTokens& special, std::size_t max_tokens,
                std::string_view file);

  EncodedPrompt encode(std::string_view text) const;
  // Without start and end, padding and limit.
  std::vector<std::int32_t> tokenize(std::string_view text) const;
  // Text of ids, special tokens included; bytes that form no UTF-8 become U+FFFD.
  std::string decode(std::span<const std::int32_t> ids) const;

  std::size_t max_tokens() const { return max_tokens_; }
  std::int32_t start_id() const { return start_id_; }
  std::int32_t end_id() const { return end_id_; }
  std::int32_t pad_id() const { return pad_id_; }
  std::size_t vocabulary_size() const { return bpe_.size(); }
  std::int32_t largest_id() const { return bpe_.largest_id(); }

 private:
  struct Literal {
    std::string text;  // UTF-8; of normalized ones their normal form
    std::int32_t id;
  };
  void add_literal(const SpecialToken& token, std::string_view file);

  Bpe bpe_;
  std::vector<Literal> raw_literals_;         // longest first
  std::vector<Literal> normalized_literals_;  // longest first
  std::int32_t start_id_ = 0, end_id_ = 0, pad_id_ = 0;
  std::size_t max_tokens_;
};

// The parts of loading that read untrusted text (fuzzed).
std::unordered_map<std::string, std::int32_t> parse_vocabulary(std::string_view text,
                                                               std::string_view file);
Bpe::Merges parse_merges(std::string_view text, std::string_view file);
SpecialTokens read_special_tokens(const std::filesystem::path& folder);

// The pieces that become words: contractions, letter runs, single numbers, other runs.
std::vector<std::string> split_words(std::u32string_view normalized);

// A sentence to show when a prompt uses the weight syntax of other programs, "(word:1.2)",
// "((word))" or "[word]", which is not interpreted here but read as plain text; empty when it does
// not.
std::string prompt_weight_warning(std::string_view prompt);

}  // namespace seamwright::model
