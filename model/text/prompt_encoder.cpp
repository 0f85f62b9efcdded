#include "model/text/prompt_encoder.h"

#include "base/error.h"

namespace seamwright::model {

PromptEncoder::PromptEncoder(ClipTokenizer tokenizer, std::unique_ptr<ClipText> network,
                             std::int64_t vocab_size)
    : tokenizer_(std::move(tokenizer)), network_(std::move(network)) {
  require(tokenizer_.largest_id() < vocab_size,
          "the tokenizer has token ids up to {}, but the text encoder only {} embeddings: the two "
          "folders do not belong together",
          tokenizer_.largest_id(), vocab_size);
}

TextEncoder::Encoded PromptEncoder::encode(Exec& exec, const std::string& prompt) const {
  const EncodedPrompt tokens = tokenizer_.encode(prompt);
  const Tensor hidden = (*network_)(exec, tokens.ids);  // [1, tokens, dim]
  Encoded out;
  out.embeddings = Tensor(heap(), DType::kF32, hidden.shape());
  exec.backend.download(hidden, out.embeddings);
  exec.backend.synchronize();
  out.dropped = tokens.dropped;
  return out;
}

}  // namespace seamwright::model
