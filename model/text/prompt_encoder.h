// Prompt to embeddings: the tokenizer and the CLIP text encoder of one model folder.
// Threads: const after construction.
#pragma once

#include <filesystem>
#include <memory>

#include "model/nets/clip_text.h"
#include "model/text/tokenizer.h"
#include "model/video_model.h"

namespace seamwright::model {

class PromptEncoder final : public TextEncoder {
 public:
  // `vocab_size` is the text encoder's: every id of the tokenizer must be below it.
  PromptEncoder(ClipTokenizer tokenizer, std::unique_ptr<ClipText> network,
                std::int64_t vocab_size);

  Encoded encode(Exec& exec, const std::string& prompt) const override;
  const ClipTokenizer& tokenizer() const { return tokenizer_; }

 private:
  ClipTokenizer tokenizer_;
  std::unique_ptr<ClipText> network_;
};

}  // namespace seamwright::model
