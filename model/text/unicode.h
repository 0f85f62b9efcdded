// The Unicode operations of the CLIP tokenizer: UTF-8, character classes, NFC, lower case.
// Threads: pure functions.
//
// The data is that of the tokenizers library (tools/reference/unicode_tables.py), so that text is
// split as the reference splits it, whatever Unicode version either was built with.
#pragma once

#include <string>
#include <string_view>

namespace seamwright::model {

// Strict UTF-8 (no surrogates, no overlong forms); throws kInvalidArgument naming the byte.
std::u32string decode_utf8(std::string_view text);
void append_utf8(char32_t c, std::string& out);
std::string encode_utf8(std::u32string_view text);

bool is_letter(char32_t c);  // \p{L}
bool is_number(char32_t c);  // \p{N}
bool is_space(char32_t c);   // \s

// Canonical composition (NFC).
std::u32string compose(std::u32string_view text);
// Character by character, without context (no word-final sigma).
std::u32string lower_case(std::u32string_view text);

}  // namespace seamwright::model
