#include "model/text/unicode.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"

namespace seamwright::model {
namespace {

struct Range {
  char32_t first, last;
};
struct LowerRun {  // every `stride`-th code point from first to last moves by delta
  char32_t first, last;
  std::int32_t stride, delta;
};
struct LowerPair {
  char32_t from, first, second;
};
struct CombiningRun {
  char32_t first, last;
  std::uint8_t combining_class;
};
struct Decomposition {
  char32_t from, first, second;  // second 0: a single character
  bool composes;
};

// clang-format off
#include "model/text/unicode_tables.inc"
// clang-format on

// The run of an ascending table that may hold c; null when c lies in none.
template <class Run>
const Run* find_run(std::span<const Run> table, char32_t c) {
  const auto after =
      std::upper_bound(table.begin(), table.end(), c,
                       [](char32_t wanted, const Run& run) { return wanted < run.first; });
  if (after == table.begin()) return nullptr;
  const Run& run = *std::prev(after);
  return c <= run.last ? &run : nullptr;
}

int combining_class(char32_t c) {
  const auto* run = find_run<CombiningRun>(kCombining, c);
  return run == nullptr ? 0 : run->combining_class;
}

// Hangul syllables decompose by arithmetic (The Unicode Standard, section 3.12).
constexpr char32_t kSyllables = 0xAC00, kLead = 0x1100, kVowel = 0x1161, kTail = 0x11A7;
constexpr char32_t kLeads = 19, kVowels = 21, kTails = 28;
constexpr char32_t kSyllableCount = kLeads * kVowels * kTails;

bool is_between(char32_t c, char32_t first, char32_t count) { return c - first < count; }

void append_decomposed(char32_t c, std::u32string& out) {
  if (is_between(c, kSyllables, kSyllableCount)) {
    const char32_t at = c - kSyllables;
    out += kLead + at / (kVowels * kTails);
    out += kVowel + at / kTails % kVowels;
    if (at % kTails != 0) out += kTail + at % kTails;
    return;
  }
  const auto found =
      std::lower_bound(std::begin(kDecompositions), std::end(kDecompositions), c,
                       [](const Decomposition& d, char32_t wanted) { return d.from < wanted; });
  if (found == std::end(kDecompositions) || found->from != c) {
    out += c;
    return;
  }
  append_decomposed(found->first, out);  // the first may decompose again, at most a few times
  if (found->second != 0) append_decomposed(found->second, out);
}

// 0 when the two do not compose.
char32_t composition(char32_t first, char32_t second) {
  static const auto* pairs = [] {
    auto* map = new std::unordered_map<std::uint64_t, char32_t>;  // never destroyed: used at exit
    for (const Decomposition& d : kDecompositions) {
      if (d.composes) (*map)[std::uint64_t{d.first} << 32 | d.second] = d.from;
    }
    return map;
  }();
  if (is_between(first, kLead, kLeads) && is_between(second, kVowel, kVowels)) {
    return kSyllables + ((first - kLead) * kVowels + (second - kVowel)) * kTails;
  }
  if (is_between(first, kSyllables, kSyllableCount) && (first - kSyllables) % kTails == 0 &&
      is_between(second, kTail + 1, kTails - 1)) {
    return first + (second - kTail);
  }
  const auto found = pairs->find(std::uint64_t{first} << 32 | second);
  return found == pairs->end() ? 0 : found->second;
}

std::u32string decompose(std::u32string_view text) {
  std::u32string out;
  for (const char32_t c : text) append_decomposed(c, out);
  // Canonical order: each run of combining marks sorted by class, equal classes as they stood.
  for (std::size_t i = 0; i < out.size();) {
    if (combining_class(out[i]) == 0) {
      ++i;
      continue;
    }
    std::size_t end = i;
    while (end < out.size() && combining_class(out[end]) != 0) ++end;
    std::stable_sort(out.begin() + static_cast<std::ptrdiff_t>(i),
                     out.begin() + static_cast<std::ptrdiff_t>(end), [](char32_t a, char32_t b) {
                       return combining_class(a) < combining_class(b);
                     });
    i = end;
  }
  return out;
}

// Length of the UTF-8 sequence that starts with `lead`, and the smallest code point it may hold.
std::pair<int, char32_t> sequence_of(unsigned char lead) {
  if (lead < 0x80) return {1, 0};
  if (lead >= 0xC2 && lead < 0xE0) return {2, 0x80};
  if (lead >= 0xE0 && lead < 0xF0) return {3, 0x800};
  if (lead >= 0xF0 && lead < 0xF5) return {4, 0x10000};
  return {0, 0};
}

}  // namespace

std::u32string decode_utf8(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const auto [length, smallest] = sequence_of(lead);
    require(length != 0 && i + static_cast<std::size_t>(length) <= text.size(),
            "the text is not valid UTF-8 at byte {}", i);
    char32_t c = length == 1 ? lead : lead & (0x7FU >> length);
    for (int j = 1; j < length; ++j) {
      const auto next = static_cast<unsigned char>(text[i + static_cast<std::size_t>(j)]);
      require((next & 0xC0U) == 0x80U, "the text is not valid UTF-8 at byte {}", i);
      c = c << 6 | (next & 0x3FU);
    }
    require(c >= smallest && c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF),
            "the text is not valid UTF-8 at byte {}", i);
    out += c;
    i += static_cast<std::size_t>(length);
  }
  return out;
}

void append_utf8(char32_t c, std::string& out) {
  const auto add = [&out](char32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) {
    add(c);
  } else if (c < 0x800) {
    add(0xC0 | c >> 6);
    add(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    add(0xE0 | c >> 12);
    add(0x80 | (c >> 6 & 0x3F));
    add(0x80 | (c & 0x3F));
  } else {
    add(0xF0 | c >> 18);
    add(0x80 | (c >> 12 & 0x3F));
    add(0x80 | (c >> 6 & 0x3F));
    add(0x80 | (c & 0x3F));
  }
}

std::string encode_utf8(std::u32string_view text) {
  std::string out;
  for (const char32_t c : text) append_utf8(c, out);
  return out;
}

bool is_letter(char32_t c) { return find_run<Range>(kLetters, c) != nullptr; }
bool is_number(char32_t c) { return find_run<Range>(kNumbers, c) != nullptr; }
bool is_space(char32_t c) { return find_run<Range>(kSpaces, c) != nullptr; }

std::u32string compose(std::u32string_view text) {
  // Nothing below U+0300 composes with what stands before it or is changed by NFC.
  if (std::all_of(text.begin(), text.end(), [](char32_t c) { return c < 0x300; })) {
    return std::u32string(text);
  }
  std::u32string out;
  std::size_t starter = std::u32string::npos;
  int last_class = -1;  // of what stands between the starter and here; -1: nothing
  for (const char32_t c : decompose(text)) {
    const int its_class = combining_class(c);
    // A mark is blocked from the starter by an equal or higher class (or a starter) between them.
    if (starter != std::u32string::npos && last_class < its_class) {
      if (const char32_t whole = composition(out[starter], c); whole != 0) {
        out[starter] = whole;
        continue;
      }
    }
    if (its_class == 0) {
      starter = out.size();
      last_class = -1;
    } else {
      last_class = its_class;
    }
    out += c;
  }
  return out;
}

std::u32string lower_case(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (const char32_t c : text) {
    if (const auto* run = find_run<LowerRun>(kLowerRuns, c);
        run != nullptr && (c - run->first) % static_cast<char32_t>(run->stride) == 0) {
      out += static_cast<char32_t>(static_cast<std::int32_t>(c) + run->delta);
      continue;
    }
    const auto pair = std::find_if(std::begin(kLowerPairs), std::end(kLowerPairs),
                                   [c](const LowerPair& p) { return p.from == c; });
    if (pair != std::end(kLowerPairs)) {
      out += pair->first;
      out += pair->second;
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace seamwright::model
