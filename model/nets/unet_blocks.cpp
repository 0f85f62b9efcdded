#include "model/nets/unet_blocks.h"

namespace seamwright::model {
namespace {

void finish(BlockRun& run, const Flow& flow, Tensor result) {
  run.activations.put(flow.to, std::move(result));
}

class ConvIn final : public UNetBlock {
 public:
  ConvIn(const Scope& scope, std::int64_t in, std::int64_t out, Flow flow)
      : conv_(scope, ConvSpec::same(in, out, 3)), flow_(std::move(flow)) {}
  void run(BlockRun& run) const override {
    finish(run, flow_, conv_(run.exec, run.activations.get(flow_.from)));
    run.activations.drop(flow_.from);
  }

 private:
  Conv conv_;
  Flow flow_;
};

class Resnet final : public UNetBlock {
 public:
  Resnet(const Scope& scope, const ResnetSpec& spec, Flow flow, std::string skip)
      : resnet_(scope, spec), flow_(std::move(flow)), skip_(std::move(skip)) {}
  void run(BlockRun& run) const override {
    const ConstView x = run.activations.get(flow_.from);
    if (skip_.empty()) return finish(run, flow_, resnet_(run.exec, x, run.silu_temb));
    const Tensor joined = ops::concat_channels(run.exec, x, run.activations.get(skip_));
    run.activations.drop(flow_.from);
    run.activations.drop(skip_);
    finish(run, flow_, resnet_(run.exec, joined, run.silu_temb));
  }

 private:
  ResnetBlock2D resnet_;
  Flow flow_;
  std::string skip_;
};

class Attention final : public UNetBlock {
 public:
  Attention(const Scope& scope, const TransformerSpec& spec, Flow flow)
      : transformer_(scope, spec), flow_(std::move(flow)) {}
  void run(BlockRun& run) const override {
    ensure(run.context != nullptr, "this U-Net needs a prompt context");
    finish(run, flow_, transformer_(run.exec, run.activations.get(flow_.from), *run.context));
  }

 private:
  Transformer2D transformer_;
  Flow flow_;
};

class Motion final : public UNetBlock {
 public:
  Motion(const Scope& scope, const MotionSpec& spec, Flow flow)
      : motion_(scope, spec), flow_(std::move(flow)) {}
  void run(BlockRun& run) const override {
    finish(run, flow_, motion_(run.exec, run.activations.get(flow_.from)));
  }

 private:
  MotionModule motion_;
  Flow flow_;
};

class Downsample final : public UNetBlock {
 public:
  Downsample(const Scope& scope, std::int64_t channels, Flow flow)
      : conv_(scope / "conv", {channels, channels, 3, 2, 1, 1, 1, 1}), flow_(std::move(flow)) {}
  void run(BlockRun& run) const override {
    finish(run, flow_, conv_(run.exec, run.activations.get(flow_.from)));
  }

 private:
  Conv conv_;
  Flow flow_;
};

// A strided convolution halves and rounds up.
std::int64_t halved(std::int64_t size, int times) {
  for (int i = 0; i < times; ++i) size = (size + 1) / 2;
  return size;
}

class Upsample final : public UNetBlock {
 public:
  Upsample(const Scope& scope, std::int64_t channels, int level, Flow flow)
      : conv_(scope / "conv", ConvSpec::same(channels, channels, 3)),
        level_(level),
        flow_(std::move(flow)) {}
  void run(BlockRun& run) const override {
    const ConstView x = run.activations.get(flow_.from);  // [F, h, w, C]
    const std::int64_t height = run.height > 0 ? halved(run.height, level_) : 2 * x.shape[1];
    const std::int64_t width = run.width > 0 ? halved(run.width, level_) : 2 * x.shape[2];
    const Tensor large = ops::upsample_nearest(run.exec, x, height, width);  // [F, H, W, C]
    run.activations.drop(flow_.from);
    finish(run, flow_, conv_(run.exec, large));
  }

 private:
  Conv conv_;
  int level_;
  Flow flow_;
};

class ConvOut final : public UNetBlock {
 public:
  ConvOut(const Scope& scope, std::int64_t in, std::int64_t out, int groups, double eps, Flow flow)
      : norm_(scope / "conv_norm_out", in, groups, eps),
        conv_(scope / "conv_out", spec(in, out)),
        flow_(std::move(flow)) {}
  void run(BlockRun& run) const override {
    const Tensor h =
        norm_(run.exec, run.activations.get(flow_.from), Activation::kSilu);  // [F, H, W, C0]
    run.activations.drop(flow_.from);
    finish(run, flow_, conv_(run.exec, h));  // [F, H, W, out]
  }

 private:
  // Guidance multiplies the difference of two predictions by some 7: rounding them to bf16 first
  // would be most of what bf16 costs.
  static ConvSpec spec(std::int64_t in, std::int64_t out) {
    ConvSpec spec = ConvSpec::same(in, out, 3);
    spec.wide_result = true;
    return spec;
  }

  GroupNorm norm_;
  Conv conv_;
  Flow flow_;
};

}  // namespace

std::unique_ptr<UNetBlock> make_conv_in(const Scope& scope, std::int64_t in, std::int64_t out,
                                        Flow flow) {
  return std::make_unique<ConvIn>(scope, in, out, std::move(flow));
}
std::unique_ptr<UNetBlock> make_resnet(const Scope& scope, const ResnetSpec& spec, Flow flow,
                                       std::string skip) {
  return std::make_unique<Resnet>(scope, spec, std::move(flow), std::move(skip));
}
std::unique_ptr<UNetBlock> make_attention(const Scope& scope, const TransformerSpec& spec,
                                          Flow flow) {
  return std::make_unique<Attention>(scope, spec, std::move(flow));
}
std::unique_ptr<UNetBlock> make_motion(const Scope& scope, const MotionSpec& spec, Flow flow) {
  return std::make_unique<Motion>(scope, spec, std::move(flow));
}
std::unique_ptr<UNetBlock> make_downsample(const Scope& scope, std::int64_t channels, Flow flow) {
  return std::make_unique<Downsample>(scope, channels, std::move(flow));
}
std::unique_ptr<UNetBlock> make_upsample(const Scope& scope, std::int64_t channels, int level,
                                         Flow flow) {
  return std::make_unique<Upsample>(scope, channels, level, std::move(flow));
}
std::unique_ptr<UNetBlock> make_conv_out(const Scope& scope, std::int64_t in, std::int64_t out,
                                         int groups, double eps, Flow flow) {
  return std::make_unique<ConvOut>(scope, in, out, groups, eps, std::move(flow));
}

}  // namespace seamwright::model
