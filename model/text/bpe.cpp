#include "model/text/bpe.h"

#include <array>
#include <queue>
#include <tuple>

#include "base/error.h"
#include "base/quoted.h"
#include "model/text/unicode.h"

namespace seamwright::model {
namespace {

constexpr std::string_view kEndOfWord = "</w>";
constexpr std::int32_t kMaxId = 1 << 24;

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}

// Printable Latin-1 stands for itself; the other bytes, in order, for U+0100 and on.
std::array<std::string, 256> make_byte_symbols() {
  std::array<std::string, 256> out;
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    append_utf8(printable ? byte : next++, out[byte]);
  }
  return out;
}

}  // namespace

const std::string& byte_symbol(unsigned char byte) {
  static const auto* symbols = new std::array<std::string, 256>(make_byte_symbols());
  return (*symbols)[byte];
}

Bpe::Bpe(std::unordered_map<std::string, std::int32_t> vocabulary, const Merges& merges,
         const std::string& unknown, std::string_view file)
    : vocabulary_(std::move(vocabulary)) {
  for (const auto& [entry, id] : vocabulary_) {
    if (id < 0 || id >= kMaxId) {
      fail(ErrorCode::kCorrupt, "{}: entry {} has id {}, outside 0..{}", file, in_quotes(entry), id,
           kMaxId - 1);
    }
    const auto at = static_cast<std::size_t>(id);
    if (at >= entries_.size()) entries_.resize(at + 1, nullptr);
    if (entries_[at] != nullptr) {
      fail(ErrorCode::kCorrupt, "{}: entries {} and {} both have id {}", file, in_quotes(entry),
           in_quotes(*entries_[at]), id);
    }
    entries_[at] = &entry;
  }
  const std::int32_t unknown_id = id_of(unknown);
  if (unknown_id < 0) {
    fail(ErrorCode::kCorrupt, "{}: the unknown token {} is not in the vocabulary", file,
         in_quotes(unknown));
  }
  for (int byte = 0; byte < 256; ++byte) {
    const std::string& symbol = byte_symbol(static_cast<unsigned char>(byte));
    const std::int32_t inside = id_of(symbol);
    const std::int32_t last = id_of(symbol + std::string(kEndOfWord));
    byte_ids_.push_back(inside < 0 ? unknown_id : inside);
    last_byte_ids_.push_back(last < 0 ? unknown_id : last);
  }
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const std::int32_t result = id_of(left + right);
    const std::int32_t left_id = id_of(left);
    const std::int32_t right_id = id_of(right);
    if (left_id < 0 || right_id < 0 || result < 0) {
      fail(ErrorCode::kCorrupt,
           "{}: merge {} ({} + {}) needs an entry the vocabulary lacks: the "
           "two files do not belong together",
           file, rank + 1, in_quotes(left), in_quotes(right));
    }
    const Merge merge{static_cast<std::int32_t>(rank), result};
    if (!merges_.emplace(pair_key(left_id, right_id), merge).second) {
      fail(ErrorCode::kCorrupt, "{}: merge {} ({} + {}) appears twice", file, rank + 1,
           in_quotes(left), in_quotes(right));
    }
  }
}

std::int32_t Bpe::id_of(std::string_view entry) const {
  const auto found = vocabulary_.find(std::string(entry));
  return found == vocabulary_.end() ? -1 : found->second;
}

std::string_view Bpe::entry_of(std::int32_t id) const {
  const auto at = static_cast<std::size_t>(id);
  return id < 0 || at >= entries_.size() || entries_[at] == nullptr ? std::string_view()
                                                                    : *entries_[at];
}

const Bpe::Merge* Bpe::merge_of(std::int32_t left, std::int32_t right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void Bpe::encode_word(std::string_view word, std::vector<std::int32_t>& ids) const {
  if (word.empty()) return;
  // A doubly linked list of symbols, and candidates ordered by (rank, position): of equal ranks the
  // leftmost first. A candidate is stale when its pair has changed since.
  struct Symbol {
    std::int32_t id;
    std::int64_t previous, next;
  };
  std::vector<Symbol> symbols;
  const auto count = static_cast<std::int64_t>(word.size());
  for (std::int64_t i = 0; i < count; ++i) {
    const auto byte = static_cast<unsigned char>(word[static_cast<std::size_t>(i)]);
    const auto& table = i + 1 == count ? last_byte_ids_ : byte_ids_;
    symbols.push_back({table[byte], i - 1, i + 1 == count ? -1 : i + 1});
  }
  using Candidate = std::tuple<std::int32_t, std::int64_t, std::int32_t>;  // rank, left, result
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto at = [&symbols](std::int64_t i) -> Symbol& {
    return symbols[static_cast<std::size_t>(i)];
  };
  const auto propose = [&](std::int64_t left) {
    if (left < 0 || at(left).next < 0) return;
    if (const Merge* merge = merge_of(at(left).id, at(at(left).next).id)) {
      queue.emplace(merge->rank, left, merge->result);
    }
  };
  for (std::int64_t i = 0; i + 1 < count; ++i) propose(i);
  constexpr std::int32_t kGone = -1;
  while (!queue.empty()) {
    const auto [rank, left, result] = queue.top();
    queue.pop();
    if (at(left).id == kGone || at(left).next < 0) continue;
    const std::int64_t right = at(left).next;
    const Merge* merge = merge_of(at(left).id, at(right).id);
    if (merge == nullptr || merge->rank != rank) continue;
    at(left).id = result;
    at(left).next = at(right).next;
    if (at(right).next >= 0) at(at(right).next).previous = left;
    at(right).id = kGone;
    propose(at(left).previous);
    propose(left);
  }
  for (std::int64_t i = 0; i >= 0; i = at(i).next) ids.push_back(at(i).id);
}

}  // namespace seamwright::model
