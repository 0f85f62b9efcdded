// Byte-pair encoding of one word: vocabulary, merges by rank, end-of-word marker.
// Threads: const after construction.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace seamwright::model {

// Printable stand-ins of the 256 byte values, as GPT-2 chose them; UTF-8.
const std::string& byte_symbol(unsigned char byte);

class Bpe {
 public:
  using Merges = std::vector<std::pair<std::string, std::string>>;
  // `file` names the vocabulary in errors. Every merge must join two entries to a third. `unknown`
  // is used for bytes the vocabulary lacks; it must be an entry.
  Bpe(std::unordered_map<std::string, std::int32_t> vocabulary, const Merges& merges,
      const std::string& unknown, std::string_view file);

  // Appends the ids of one word, given as UTF-8.
  void encode_word(std::string_view word, std::vector<std::int32_t>& ids) const;

  // -1 when absent.
  std::int32_t id_of(std::string_view entry) const;
  // Empty for an id no entry has.
  std::string_view entry_of(std::int32_t id) const;
  std::size_t size() const { return vocabulary_.size(); }
  std::int32_t largest_id() const { return static_cast<std::int32_t>(entries_.size()) - 1; }

 private:
  struct Merge {
    std::int32_t rank;
    std::int32_t result;
  };
  const Merge* merge_of(std::int32_t left, std::int32_t right) const;

  std::unordered_map<std::string, std::int32_t> vocabulary_;
  std::vector<const std::string*> entries_;  // by id
  std::unordered_map<std::uint64_t, Merge> merges_;
  std::vector<std::int32_t> byte_ids_;       // inside a word
  std::vector<std::int32_t> last_byte_ids_;  // with the end-of-word marker
};

}  // namespace seamwright::model
