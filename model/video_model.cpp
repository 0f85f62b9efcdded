#include "model/video_model.h"

#include <algorithm>
#include <fstream>
#include <mutex>
#include <set>

#include "base/sha256.h"
#include "model/model_folder.h"
#include "model/model_parts.h"
#include "model/text/prompt_encoder.h"

namespace seamwright::model {
namespace {

namespace fs = std::filesystem;

// What goes into the hash: a name that does not depend on where the folder lies, and the file.
using HashedFiles = std::vector<std::pair<std::string, fs::path>>;

void add_part(HashedFiles& files, const std::string& part, const std::vector<fs::path>& paths) {
  for (const auto& path : paths) {
    files.emplace_back(fmt::format("{}/{}", part, path.filename().string()), path);
  }
}

void hash_file(Sha256& hash, const std::string& name, const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(ErrorCode::kIo, "cannot read {}", path.string());
  std::vector<char> buffer(1 << 20);
  Sha256 content;
  while (file) {
    file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    const auto got = static_cast<std::size_t>(file.gcount());
    content.update(std::as_bytes(std::span(buffer.data(), got)));
  }
  if (!file.eof()) fail(ErrorCode::kIo, "reading {} failed", path.string());
  hash.update(fmt::format("{} {}\n", name, to_hex(content.finish())));
}

// A single-file checkpoint is itself; anything else is a folder to be found.
fs::path located(const fs::path& model) {
  std::error_code ignored;
  return fs::is_regular_file(model, ignored) ? model : find_model_folder(model.string());
}

class LoadedModel final : public VideoModel {
 public:
  LoadedModel(const LoadOptions& options, Backend& backend)
      : folder_(located(options.model)), loras_(options.loras) {
    const auto wanted = [&](Part part) {
      return std::ranges::find(options.parts, part) != options.parts.end();
    };
    // All parts are opened, whatever is loaded, so that every rank knows sizes and hash alike.
    DenoiserFiles denoiser = open_denoiser(folder_, options.motion_adapter);
    const CodecFiles codec = open_codec(folder_, options.vae);
    TextFiles text = open_text(folder_);
    defaults_ = read_model_defaults(folder_, &denoiser.config);
    auto& known = defaults_.known_frames;
    // What a folder says of known frames holds for its own motion modules.
    if (!options.known_frames || options.motion_adapter) known = {};
    if (!known.lora.empty()) loras_.insert(loras_.begin(), {folder_ / known.lora, 1});
    add_loras(loras_, denoiser, text);
    tokenizer_ = tokenizer_folder(folder_, options.tokenizer, options.tokenizer_fallback);
    list_files(denoiser, codec, text);
    if (wanted(Part::kDenoiser)) {
      UNetOptions unet;
      if (options.per_frame_motion_norm) unet.motion_norm = NormExtent::kPerFrame;
      unet.blocks = options.blocks;
      denoiser_ = keep(build_denoiser(denoiser, backend, unet));
    }
    if (wanted(Part::kCodec)) codec_ = keep(build_codec(codec, backend));
    if (wanted(Part::kTextEncoder)) {
      text_ = std::make_unique<PromptEncoder>(
          ClipTokenizer::load(tokenizer_,
                              static_cast<std::size_t>(text.config.max_position_embeddings)),
          keep(build_text(text, backend)), text.config.vocab_size);
    }
    check_parts_fit(denoiser.config, &text.config, codec_.get());
    backend.synchronize();  // the files are closed next
  }

  const Denoiser& denoiser() const override {
    ensure(denoiser_ != nullptr, "the denoiser of {} was not loaded", folder_.string());
    return *denoiser_;
  }
  const FrameCodec& codec() const override {
    ensure(codec_ != nullptr, "the VAE of {} was not loaded", folder_.string());
    return *codec_;
  }
  const TextEncoder& text() const override {
    ensure(text_ != nullptr, "the text encoder of {} was not loaded", folder_.string());
    return *text_;
  }
  const ModelDefaults& defaults() const override { return defaults_; }
  Config scheduler_config() const override { return scheduler_config_of(folder_); }
  std::size_t resident_bytes() const override { return resident_bytes_; }

  std::string hash() const override {
    std::call_once(hash_once_, [this] {
      Sha256 hash;
      for (const auto& [name, path] : hashed_) hash_file(hash, name, path);
      hash_ = to_hex(hash.finish());
    });
    return hash_;
  }

 private:
  template <class Network>
  std::unique_ptr<Network> keep(Built<Network> built) {
    resident_bytes_ += built.resident_bytes;
    return std::move(built.network);
  }

  void list_files(const DenoiserFiles& denoiser, const CodecFiles& codec, const TextFiles& text) {
    // The configs of the two are kept in one list: the U-Net's, then the adapter's.
    for (const auto& config : denoiser.configs) {
      add_part(hashed_, config.parent_path() == folder_ / "unet" ? "unet" : "motion_adapter",
               {config});
    }
    add_part(hashed_, "unet", denoiser.unet.paths);
    add_part(hashed_, "motion_adapter", denoiser.adapter.paths);
    add_part(hashed_, "vae", codec.configs);
    add_part(hashed_, "vae", codec.weights.paths);
    add_part(hashed_, "text_encoder", text.configs);
    add_part(hashed_, "text_encoder", text.weights.paths);
    for (const char* name : {"vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json",
                             "special_tokens_map.json", "added_tokens.json"}) {
      if (fs::is_regular_file(tokenizer_ / name)) {
        hashed_.emplace_back(std::string("tokenizer/") + name, tokenizer_ / name);
      }
    }
    if (const fs::path file = folder_ / "scheduler" / "scheduler_config.json";
        fs::is_regular_file(file)) {
      hashed_.emplace_back("scheduler/scheduler_config.json", file);
    }
    for (std::size_t i = 0; i < loras_.size(); ++i) {
      hashed_.emplace_back(fmt::format("lora/{}:{}", i, loras_[i].scale), loras_[i].file);
    }
    // The parts of a single-file checkpoint are one file, read once.
    std::set<fs::path> seen;
    std::erase_if(hashed_, [&](const auto& entry) {
      return !entry.first.starts_with("lora/") && !seen.insert(entry.second).second;
    });
    std::ranges::sort(hashed_);
  }

  fs::path folder_, tokenizer_;
  std::vector<LoraChoice> loras_;
  ModelDefaults defaults_;
  std::unique_ptr<Denoiser> denoiser_;
  std::unique_ptr<FrameCodec> codec_;
  std::unique_ptr<TextEncoder> text_;
  std::size_t resident_bytes_ = 0;
  HashedFiles hashed_;
  mutable std::once_flag hash_once_;
  mutable std::string hash_;
};

}  // namespace

std::unique_ptr<VideoModel> VideoModel::load(const LoadOptions& options, Backend& backend) {
  return std::make_unique<LoadedModel>(options, backend);
}

}  // namespace seamwright::model
