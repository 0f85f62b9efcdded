// Folder-private: the kinds of block a U-Net is cut into. Each reads and writes activations by
// name; skip connections are just names that live longer.
// Threads: const after construction.
#pragma once

#include <memory>
#include <string>

#include "model/denoiser.h"
#include "model/nets/motion.h"
#include "model/nets/resnet.h"
#include "model/nets/transformer.h"

namespace seamwright::model {

// What blocks share during one evaluation.
struct BlockRun {
  Exec& exec;
  Activations& activations;
  ConstView silu_temb;  // [1, time channels]
  PromptContext* context;
  std::int64_t height, width;  // of the latents; 0 where unknown
};

class UNetBlock {
 public:
  virtual ~UNetBlock() = default;
  virtual void run(BlockRun& run) const = 0;
};

// Reads `from`, writes `to`. Where both are "h", the old value is freed.
struct Flow {
  std::string from, to;
};

// "sample" -> conv_in -> `to`.
std::unique_ptr<UNetBlock> make_conv_in(const Scope& scope, std::int64_t in, std::int64_t out,
                                        Flow flow);
// With a skip, its channels join those of `from` (from first); the skip is freed.
std::unique_ptr<UNetBlock> make_resnet(const Scope& scope, const ResnetSpec& spec, Flow flow,
                                       std::string skip);
std::unique_ptr<UNetBlock> make_attention(const Scope& scope, const TransformerSpec& spec,
                                          Flow flow);
std::unique_ptr<UNetBlock> make_motion(const Scope& scope, const MotionSpec& spec, Flow flow);
std::unique_ptr<UNetBlock> make_downsample(const Scope& scope, std::int64_t channels, Flow flow);
// `level` halvings remain after this block: the target size is the latents' size halved as often.
std::unique_ptr<UNetBlock> make_upsample(const Scope& scope, std::int64_t channels, int level,
                                         Flow flow);
// Norm, SiLU, conv_out: `from` -> "prediction".
std::unique_ptr<UNetBlock> make_conv_out(const Scope& scope, std::int64_t in, std::int64_t out,
                                         int groups, double eps, Flow flow);

}  // namespace seamwright::model
