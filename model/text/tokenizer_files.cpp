// Loading of a tokenizer folder, in the older layout (vocab.json, merges.txt) or the newer one
// (tokenizer.json alone).
#include <algorithm>

#include "base/error.h"
#include "base/quoted.h"
#include "model/mapped_file.h"
#include "model/text/tokenizer.h"

namespace seamwright::model {
namespace {

namespace fs = std::filesystem;

constexpr JsonLimits kVocabularyLimits{.max_bytes = 64U << 20, .max_depth = 16};
constexpr std::size_t kMaxEntries = 1U << 22;
constexpr std::size_t kMaxMergesBytes = 64U << 20;
constexpr std::size_t kMaxEntryBytes = 1024;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

std::unordered_map<std::string, std::int32_t> to_vocabulary(const Json& json,
                                                            std::string_view file) {
  if (!json.is_object() || json.empty() || json.size() > kMaxEntries) {
    fail(ErrorCode::kCorrupt, "{}: a vocabulary is an object of 1 to {} entries", file,
         kMaxEntries);
  }
  std::unordered_map<std::string, std::int32_t> out;
  out.reserve(json.size());
  for (const auto& [entry, id] : json.items()) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() > INT32_MAX) {
      fail(ErrorCode::kCorrupt, "{}: the id of {} is not an integer of 0 or more", file,
           in_quotes(entry));
    }
    if (entry.size() > kMaxEntryBytes) {
      fail(ErrorCode::kCorrupt, "{}: entry {} is longer than {} bytes", file, in_quotes(entry),
           kMaxEntryBytes);
    }
    out.emplace(entry, id.get<std::int32_t>());
  }
  return out;
}

std::pair<std::string, std::string> to_merge(std::string_view line, std::string_view file,
                                             std::size_t number) {
  const auto space = line.find(' ');
  if (space == std::string_view::npos || space == 0 || space + 1 == line.size() ||
      line.find(' ', space + 1) != std::string_view::npos || line.size() > 2 * kMaxEntryBytes) {
    fail(ErrorCode::kCorrupt, "{}: line {} is not a merge (two symbols and one space): {}", file,
         number, in_quotes(line));
  }
  return {std::string(line.substr(0, space)), std::string(line.substr(space + 1))};
}

// A token is a string, or an object with "content" and flags.
SpecialToken to_special(const Json& value, std::string_view key, std::string_view file) {
  const Json* content = &value;
  SpecialToken token;
  if (value.is_object()) {
    const auto found = value.find("content");
    if (found == value.end()) {
      fail(ErrorCode::kCorrupt, "{}: {} has no content", file, in_quotes(key));
    }
    content = &*found;
    for (const char* flag : {"lstrip", "rstrip", "single_word"}) {
      if (value.value(flag, Json(false)) != Json(false)) {
        fail(ErrorCode::kUnsupported, "{}: {} of {} is not supported", file, flag, in_quotes(key));
      }
    }
    const Json normalized = value.value("normalized", Json(false));
    token.normalized = normalized.is_boolean() && normalized.get<bool>();
  }
  if (!content->is_string() || content->get_ref<const std::string&>().empty()) {
    fail(ErrorCode::kCorrupt, "{}: {} must be a token's text", file, in_quotes(key));
  }
  token.text = content->get<std::string>();
  return token;
}

void take_named(const Json& json, std::string_view file, SpecialTokens& out) {
  const auto take = [&](const char* key, SpecialToken& token) {
    const auto found = json.find(key);
    if (found != json.end() && !found->is_null()) token = to_special(*found, key, file);
  };
  take("bos_token", out.start);
  take("eos_token", out.end);
  take("unk_token", out.unknown);
  take("pad_token", out.pad);
}

// Entries added to the vocabulary, with their ids, on top of vocab.json.
struct Added {
  std::string text;
  std::int32_t id;
};

std::int32_t to_id(const Json& value, std::string_view text, std::string_view file) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > INT32_MAX) {
    fail(ErrorCode::kCorrupt, "{}: the id of {} is not an integer of 0 or more", file,
         in_quotes(text));
  }
  return value.get<std::int32_t>();
}

// Named tokens, then what was added by tokenizer_config.json or the older added_tokens.json.
SpecialTokens read_tokens(const fs::path& folder, std::vector<Added>& added) {
  SpecialTokens out;
  bool has_decoder = false;
  if (const fs::path file = folder / "tokenizer_config.json"; is_file(file)) {
    const Json json = read_json_file(file);
    if (!json.is_object()) fail(ErrorCode::kCorrupt, "{}: not an object", file.string());
    take_named(json, file.string(), out);
    // transformers writes a huge floating-point number for "no limit".
    const auto limit = json.find("model_max_length");
    if (limit != json.end() && limit->is_number_unsigned()) {
      out.max_tokens = limit->get<std::size_t>();
    }
    const auto decoder = json.find("added_tokens_decoder");
    has_decoder = decoder != json.end() && decoder->is_object();
    if (has_decoder) {
      for (const auto& [id, value] : decoder->items()) {
        out.more.push_back(to_special(value, id, file.string()));
        if (id.empty() || id.size() > 8 ||
            id.find_first_not_of("0123456789") != std::string::npos) {
          fail(ErrorCode::kCorrupt, "{}: {} is no token id", file.string(), in_quotes(id));
        }
        added.push_back({out.more.back().text, std::stoi(id)});
      }
    }
  }
  if (const fs::path file = folder / "special_tokens_map.json"; is_file(file)) {
    const Json json = read_json_file(file);
    if (!json.is_object()) fail(ErrorCode::kCorrupt, "{}: not an object", file.string());
    if (!has_decoder) take_named(json, file.string(), out);
  }
  if (const fs::path file = folder / "added_tokens.json"; !has_decoder && is_file(file)) {
    const Json json = read_json_file(file);
    if (!json.is_object()) fail(ErrorCode::kCorrupt, "{}: not an object", file.string());
    for (const auto& [text, id] : json.items()) {
      out.more.push_back({text, true});
      added.push_back({text, to_id(id, text, file.string())});
    }
  }
  return out;
}

void add_entries(const std::vector<Added>& added, std::string_view file,
                 std::unordered_map<std::string, std::int32_t>& vocabulary) {
  for (const Added& token : added) {
    const auto [at, fresh] = vocabulary.emplace(token.text, token.id);
    if (!fresh && at->second != token.id) {
      fail(ErrorCode::kCorrupt, "{}: token {} has id {} in the vocabulary and {} where it is added",
           file, in_quotes(token.text), at->second, token.id);
    }
  }
}

// tokenizer.json: {"model": {"type": "BPE", "vocab": {...}, "merges": [...]}, "added_tokens":
// [...]}
void read_tokenizer_json(const fs::path& path, std::vector<Added>& added,
                         std::unordered_map<std::string, std::int32_t>& vocabulary,
                         Bpe::Merges& merges) {
  const Json json = read_json_file(path, kVocabularyLimits);
  const std::string file = path.string();
  const auto model = json.is_object() ? json.find("model") : json.end();
  if (!json.is_object() || model == json.end() || !model->is_object() ||
      !model->contains("vocab") || !model->contains("merges") || !(*model)["merges"].is_array()) {
    fail(ErrorCode::kCorrupt, "{}: no BPE model with vocab and merges", file);
  }
  if (model->value("type", Json("BPE")) != Json("BPE") ||
      model->value("end_of_word_suffix", Json("</w>")) != Json("</w>")) {
    fail(ErrorCode::kUnsupported, "{}: only CLIP's byte-level BPE with </w> is supported", file);
  }
  vocabulary = to_vocabulary((*model)["vocab"], file);
  for (const Json& entry : (*model)["merges"]) {
    const std::size_t number = merges.size() + 1;
    if (entry.is_string()) {
      merges.push_back(to_merge(entry.get_ref<const std::string&>(), file, number));
    } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() &&
               entry[1].is_string()) {
      merges.emplace_back(entry[0].get<std::string>(), entry[1].get<std::string>());
    } else {
      fail(ErrorCode::kCorrupt, "{}: merge {} is not a pair of symbols", file, number);
    }
  }
  for (const Json& entry : json.value("added_tokens", Json::array())) {
    if (!entry.is_object() || !entry.contains("id")) {
      fail(ErrorCode::kCorrupt, "{}: an added token has no id", file);
    }
    const SpecialToken token = to_special(entry, "added_tokens", file);
    added.push_back({token.text, to_id(entry["id"], token.text, file)});
  }
}

}  // namespace

std::unordered_map<std::string, std::int32_t> parse_vocabulary(std::string_view text,
                                                               std::string_view file) {
  return to_vocabulary(parse_json(text, file, kVocabularyLimits), file);
}

Bpe::Merges parse_merges(std::string_view text, std::string_view file) {
  if (text.size() > kMaxMergesBytes) {
    fail(ErrorCode::kCorrupt, "{}: {} bytes, more than the {} merges may have", file, text.size(),
         kMaxMergesBytes);
  }
  Bpe::Merges merges;
  std::size_t number = 0;
  while (!text.empty()) {
    const auto end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    ++number;
    if (line.empty() && text.empty()) break;
    if (line.starts_with("#version")) continue;
    merges.push_back(to_merge(line, file, number));
  }
  return merges;
}

SpecialTokens read_special_tokens(const fs::path& folder) {
  std::vector<Added> added;
  return read_tokens(folder, added);
}

ClipTokenizer ClipTokenizer::load(const fs::path& folder, std::size_t max_tokens) {
  std::vector<Added> added;
  SpecialTokens special = read_tokens(folder, added);
  std::unordered_map<std::string, std::int32_t> vocabulary;
  Bpe::Merges merges;
  fs::path file = folder / "vocab.json";
  if (is_file(file)) {
    const MappedFile vocabulary_file(file);
    const MappedFile merges_file(folder / "merges.txt");
    const auto text = [](const MappedFile& mapped) {
      return std::string_view(reinterpret_cast<const char*>(mapped.bytes().data()),
                              mapped.bytes().size());
    };
    vocabulary = parse_vocabulary(text(vocabulary_file), file.string());
    merges = parse_merges(text(merges_file), merges_file.path().string());
  } else if (is_file(folder / "tokenizer.json")) {
    file = folder / "tokenizer.json";
    read_tokenizer_json(file, added, vocabulary, merges);
  } else {
    fail(ErrorCode::kNotFound,
         "{} holds no tokenizer: expected vocab.json and merges.txt, or tokenizer.json",
         folder.string());
  }
  add_entries(added, file.string(), vocabulary);
  Bpe bpe(std::move(vocabulary), merges, special.unknown.text, file.string());
  return ClipTokenizer(std::move(bpe), special, std::min(max_tokens, special.max_tokens),
                       file.string());
}

}  // namespace seamwright::model
