#include "model/nets/unet_plan.h"

#include <algorithm>

#include "base/error.h"

namespace seamwright::model {
namespace {

template <class T>
void check_length(const std::vector<T>& values, std::size_t blocks, const char* key) {
  require(values.size() == blocks, "unet config: {} has {} entries, but there are {} blocks", key,
          values.size(), blocks);
}

void check(const UNetConfig& c) {
  const std::size_t n = c.block_out_channels.size();
  require(n > 0, "unet config: block_out_channels is empty");
  check_length(c.down_attention, n, "down_block_types");
  check_length(c.up_attention, n, "up_block_types");
  check_length(c.layers_per_block, n, "layers_per_block");
  check_length(c.transformer_layers, n, "transformer_layers_per_block");
  check_length(c.up_transformer_layers, n, "reverse_transformer_layers_per_block");
  check_length(c.cross_attention_dim, n, "cross_attention_dim");
  check_length(c.heads, n, "attention_head_dim");
  if (!c.motion) return;
  const MotionConfig& m = *c.motion;
  check_length(m.transformer_layers, n, "temporal_transformer_layers_per_block");
  check_length(m.up_transformer_layers, n, "reverse_temporal_transformer_layers_per_block");
  check_length(m.heads, n, "motion_num_attention_heads");
  check_length(m.up_heads, n, "reverse_motion_num_attention_heads");
  require(!m.conv_in_channels,
          "this motion adapter replaces conv_in ({} input channels), which "
          "needs image conditioning and is not supported",
          *m.conv_in_channels);
}

class Planner {
 public:
  Planner(const UNetConfig& config, NormExtent motion_norm)
      : c_(config), motion_norm_(motion_norm), time_channels_(4 * config.block_out_channels[0]) {}

  std::vector<PlannedBlock> plan() {
    const auto& widths = c_.block_out_channels;
    const std::int64_t in = c_.in_channels, first = widths[0];
    const Flow start{"sample", next_skip(first)};
    add("conv_in", start, {}, [=](const Scope& s) { return make_conv_in(s, in, first, start); });
    for (std::size_t i = 0; i < widths.size(); ++i) down(i);
    mid();
    for (std::size_t i = 0; i < widths.size(); ++i) up(i);
    const std::int64_t out = c_.out_channels;
    const int groups = c_.norm_num_groups;
    const double eps = c_.norm_eps;
    const Flow end{current_, "prediction"};
    add(
        "", end, {}, [=](const Scope& s) { return make_conv_out(s, first, out, groups, eps, end); },
        "conv_out");
    return std::move(blocks_);
  }

 private:
  struct Skip {
    std::string name;
    std::int64_t channels;
  };
  using Build = std::function<std::unique_ptr<UNetBlock>(const Scope&)>;

  // `path` is where in the checkpoint the block's weights are.
  void add(const std::string& path, const Flow& flow, const std::string& skip, Build build,
           const std::string& name = {}, bool from_adapter = false) {
    PlannedBlock block;
    block.name = name.empty() ? path : name;
    block.reads = {flow.from};
    if (!skip.empty()) block.reads.push_back(skip);
    block.writes = {flow.to};
    block.from_adapter = from_adapter;
    block.build = [path, build = std::move(build)](const Scope& root) {
      return build(path.empty() ? root : root / path);
    };
    blocks_.push_back(std::move(block));
    current_ = flow.to;
  }

  std::string next_skip(std::int64_t channels) {
    skips_.push_back({fmt::format("skip.{}", skips_made_++), channels});
    return skips_.back().name;
  }

  void resnet(const std::string& path, std::int64_t in, std::int64_t out, const std::string& skip,
              const std::string& to) {
    const Flow flow{current_, to};
    const ResnetSpec spec{in, out, c_.norm_num_groups, c_.norm_eps, time_channels_, result_};
    add(path, flow, skip, [=](const Scope& s) { return make_resnet(s, spec, flow, skip); });
  }

  void attention(const std::string& path, std::int64_t channels, int heads, int layers,
                 std::int64_t context, const std::string& to) {
    const Flow flow{current_, to};
    const TransformerSpec spec{channels, c_.norm_num_groups, heads,  layers,
                               context,  cross_layers_,      result_};
    cross_layers_ += layers;
    add(path, flow, {}, [=](const Scope& s) { return make_attention(s, spec, flow); });
  }

  void motion(const std::string& path, std::int64_t channels, int heads, int layers,
              const std::string& to) {
    const Flow flow{current_, to};
    const MotionSpec spec{channels, c_.norm_num_groups,        heads,
                          layers,   c_.motion->max_seq_length, motion_norm_,
                          result_};
    add(
        path, flow, {}, [=](const Scope& s) { return make_motion(s, spec, flow); }, {}, true);
  }

  // Resnet, attention and motion module of one layer; the last of them writes the skip.
  void down(std::size_t i) {
    const std::string block = fmt::format("down_blocks.{}", i);
    const std::int64_t out = c_.block_out_channels[i];
    for (int j = 0; j < c_.layers_per_block[i]; ++j) {
      const std::string index = fmt::format(".{}", j);
      const std::int64_t in = j > 0 ? out : c_.block_out_channels[i > 0 ? i - 1 : 0];
      const std::string skip = next_skip(out);
      const bool attend = c_.down_attention[i], move = c_.motion.has_value();
      resnet(block + ".resnets" + index, in, out, {}, attend || move ? "h" : skip);
      if (attend) {
        attention(block + ".attentions" + index, out, c_.heads[i], c_.transformer_layers[i],
                  c_.cross_attention_dim[i], move ? "h" : skip);
      }
      if (move) {
        motion(block + ".motion_modules" + index, out, c_.motion->heads[i],
               c_.motion->transformer_layers[i], skip);
      }
    }
    if (i + 1 == c_.block_out_channels.size()) return;
    const Flow flow{current_, next_skip(out)};
    add(block + ".downsamplers.0", flow, {},
        [=](const Scope& s) { return make_downsample(s, out, flow); });
  }

  void mid() {
    const std::int64_t width = c_.block_out_channels.back();
    resnet("mid_block.resnets.0", width, width, {}, "h");
    attention("mid_block.attentions.0", width, c_.heads.back(), c_.mid_transformer_layers,
              c_.cross_attention_dim.back(), "h");
    if (c_.motion && c_.motion->use_mid_block) {
      motion("mid_block.motion_modules.0", width, c_.motion->mid_heads,
             c_.motion->mid_transformer_layers, "h");
    }
    resnet("mid_block.resnets.1", width, width, {}, "h");
  }

  void up(std::size_t i) {
    const std::size_t levels = c_.block_out_channels.size();
    const std::size_t mirror = levels - 1 - i;
    const std::string block = fmt::format("up_blocks.{}", i);
    const std::int64_t out = c_.block_out_channels[mirror];
    const std::int64_t before = i > 0 ? c_.block_out_channels[mirror + 1] : out;
    for (int j = 0; j < c_.layers_per_block[mirror] + 1; ++j) {
      const std::string index = fmt::format(".{}", j);
      const Skip skip = skips_.back();
      skips_.pop_back();
      // What is rounded here comes out as it is, and guidance multiplies it: in bf16 these three
      // results cost as much as everything before them.
      if (skips_.empty()) result_ = ops::Result::kWide;
      resnet(block + ".resnets" + index, (j > 0 ? out : before) + skip.channels, out, skip.name,
             "h");
      if (c_.up_attention[i]) {
        attention(block + ".attentions" + index, out, c_.heads[mirror], c_.up_transformer_layers[i],
                  c_.cross_attention_dim[mirror], "h");
      }
      if (c_.motion) {
        motion(block + ".motion_modules" + index, out, c_.motion->up_heads[i],
               c_.motion->up_transformer_layers[i], "h");
      }
    }
    if (i + 1 == levels) return;
    const Flow flow{current_, "h"};
    const int level = static_cast<int>(mirror) - 1;
    add(block + ".upsamplers.0", flow, {},
        [=](const Scope& s) { return make_upsample(s, out, level, flow); });
  }

  const UNetConfig& c_;
  NormExtent motion_norm_;
  std::int64_t time_channels_;
  std::vector<PlannedBlock> blocks_;
  std::vector<Skip> skips_;
  int skips_made_ = 0;
  int cross_layers_ = 0;
  std::string current_;
  ops::Result result_ = ops::Result::kNarrow;
};

}  // namespace

std::vector<PlannedBlock> plan_unet(const UNetConfig& config, NormExtent motion_norm) {
  check(config);
  return Planner(config, motion_norm).plan();
}

}  // namespace seamwright::model
