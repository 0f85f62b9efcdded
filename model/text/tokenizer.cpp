#include "model/text/tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "base/quoted.h"
#include "model/text/unicode.h"

namespace seamwright::model {
namespace {

constexpr std::u32string_view kStart = U"<|startoftext|>";
constexpr std::u32string_view kEnd = U"<|endoftext|>";

std::u32string normalize(std::string_view text) {
  const std::u32string composed = compose(decode_utf8(text));
  std::u32string collapsed;
  for (const char32_t c : composed) {
    if (!is_space(c)) {
      collapsed += c;
    } else if (collapsed.empty() || collapsed.back() != U' ') {
      collapsed += U' ';
    }
  }
  return lower_case(collapsed);
}

// Length of a contraction at the start of the text; 0 when there is none.
std::size_t contraction(std::u32string_view text) {
  for (const std::u32string_view c : {U"'s", U"'t", U"'re", U"'ve", U"'m", U"'ll", U"'d"}) {
    if (text.starts_with(c)) return c.size();
  }
  return 0;
}

bool is_other(char32_t c) { return !is_space(c) && !is_letter(c) && !is_number(c); }

std::size_t run_length(std::u32string_view text, bool (*matches)(char32_t)) {
  const auto end = std::find_if_not(text.begin(), text.end(), matches);
  return static_cast<std::size_t>(end - text.begin());
}

// Calls text_between(piece) and literal(id) in the order of the text; leftmost, then longest.
template <class Literals, class OnText, class OnLiteral>
void cut(std::string_view text, const Literals& literals, OnText&& text_between,
         OnLiteral&& literal) {
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size();) {
    const auto rest = text.substr(i);
    const auto found = std::find_if(literals.begin(), literals.end(), [rest](const auto& entry) {
      return rest.starts_with(entry.text);
    });
    if (found == literals.end()) {
      ++i;
      continue;
    }
    if (i > begin) text_between(text.substr(begin, i - begin));
    literal(found->id);
    i += found->text.size();
    begin = i;
  }
  if (begin < text.size()) text_between(text.substr(begin));
}

// Byte-symbol spelling -> bytes.
std::string bytes_of(std::string_view entry) {
  static const auto* bytes = [] {
    auto* map = new std::unordered_map<char32_t, char>;
    for (int byte = 0; byte < 256; ++byte) {
      const auto symbol = decode_utf8(byte_symbol(static_cast<unsigned char>(byte)));
      (*map)[symbol.front()] = static_cast<char>(byte);
    }
    return map;
  }();
  std::string out;
  for (const char32_t c : decode_utf8(entry)) {
    const auto found = bytes->find(c);
    if (found != bytes->end()) {
      out += found->second;
    } else {
      append_utf8(c, out);
    }
  }
  return out;
}

// Replaces what is not UTF-8 (a character whose bytes were cut apart) by U+FFFD.
std::string repaired(std::string_view bytes) {
  std::string out;
  for (std::size_t i = 0; i < bytes.size();) {
    std::size_t taken = 0;
    for (std::size_t length = 1; length <= 4 && i + length <= bytes.size() && taken == 0;
         ++length) {
      try {
        out += encode_utf8(decode_utf8(bytes.substr(i, length)));
        taken = length;
      } catch (const Error&) {  // not a character of this length
      }
    }
    if (taken == 0) {
      out += "\xEF\xBF\xBD";
      taken = 1;
    }
    i += taken;
  }
  return out;
}

}  // namespace

std::vector<std::string> split_words(std::u32string_view text) {
  std::vector<std::string> words;
  const auto take = [&](std::size_t length) {
    words.push_back(encode_utf8(text.substr(0, length)));
    text.remove_prefix(length);
  };
  while (!text.empty()) {
    const char32_t c = text.front();
    if (is_space(c)) {
      text.remove_prefix(1);
    } else if (text.starts_with(kStart) || text.starts_with(kEnd)) {
      // A special token that lower case has made of something else is no longer special: the
      // reference splits it a second time, into its symbols and its word.
      take(2);
      take(run_length(text, is_letter));
      take(2);
    } else if (const std::size_t length = contraction(text); length != 0) {
      take(length);
    } else if (is_letter(c)) {
      take(run_length(text, is_letter));
    } else if (is_number(c)) {
      take(1);
    } else {
      take(run_length(text, is_other));
    }
  }
  return words;
}

ClipTokenizer::ClipTokenizer(Bpe bpe, const SpecialTokens& special, std::size_t max_tokens,
                             std::string_view file)
    : bpe_(std::move(bpe)), max_tokens_(max_tokens) {
  require(max_tokens >= 3 && max_tokens <= 4096,
          "{}: a prompt of {} tokens is not possible: 3 to 4096 are", file, max_tokens);
  for (const SpecialToken* token : {&special.start, &special.end, &special.unknown, &special.pad}) {
    add_literal(*token, file);
  }
  for (const SpecialToken& token : special.more) add_literal(token, file);
  for (auto* literals : {&raw_literals_, &normalized_literals_}) {
    std::stable_sort(literals->begin(), literals->end(), [](const Literal& a, const Literal& b) {
      return a.text.size() > b.text.size();
    });
  }
  start_id_ = bpe_.id_of(special.start.text);
  end_id_ = bpe_.id_of(special.end.text);
  pad_id_ = bpe_.id_of(special.pad.text);
}

void ClipTokenizer::add_literal(const SpecialToken& token, std::string_view file) {
  const std::int32_t id = bpe_.id_of(token.text);
  if (token.text.empty() || id < 0) {
    fail(ErrorCode::kCorrupt, "{}: the special token {} is not in the vocabulary", file,
         in_quotes(token.text));
  }
  auto& literals = token.normalized ? normalized_literals_ : raw_literals_;
  const std::string text = token.normalized ? encode_utf8(normalize(token.text)) : token.text;
  const bool known = std::any_of(literals.begin(), literals.end(),
                                 [&](const Literal& entry) { return entry.text == text; });
  if (!known) literals.push_back({text, id});
}

std::vector<std::int32_t> ClipTokenizer::tokenize(std::string_view text) const {
  std::vector<std::int32_t> ids;
  const auto add_id = [&ids](std::int32_t id) { ids.push_back(id); };
  const auto add_words = [&](std::string_view piece) {
    for (const std::string& word : split_words(decode_utf8(piece))) bpe_.encode_word(word, ids);
  };
  (void)decode_utf8(text);  // refuse broken text with positions in the whole of it
  cut(
      text, raw_literals_,
      [&](std::string_view piece) {
        cut(encode_utf8(normalize(piece)), normalized_literals_, add_words, add_id);
      },
      add_id);
  return ids;
}

EncodedPrompt ClipTokenizer::encode(std::string_view text) const {
  const std::vector<std::int32_t> tokens = tokenize(text);
  const std::size_t kept = std::min(tokens.size(), max_tokens_ - 2);
  EncodedPrompt out;
  out.ids.push_back(start_id_);
  out.ids.insert(out.ids.end(), tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(kept));
  out.ids.push_back(end_id_);
  out.used = out.ids.size();
  out.ids.resize(max_tokens_, pad_id_);
  out.dropped = decode(std::span(tokens).subspan(kept));
  return out;
}

std::string ClipTokenizer::decode(std::span<const std::int32_t> ids) const {
  constexpr std::string_view kEndOfWord = "</w>";
  std::string bytes;
  for (const std::int32_t id : ids) {
    std::string_view entry = bpe_.entry_of(id);
    const bool word_ends = entry.ends_with(kEndOfWord);
    if (word_ends) entry.remove_suffix(kEndOfWord.size());
    bytes += bytes_of(entry);
    if (word_ends) bytes += ' ';
  }
  while (!bytes.empty() && bytes.back() == ' ') bytes.pop_back();
  return repaired(bytes);
}

}  // namespace seamwright::model
