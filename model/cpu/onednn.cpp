#include "model/cpu/onednn.h"

#include <omp.h>

#include <cstring>
#include <exception>
#include <unordered_map>

#include "base/error.h"

namespace seamwright::model::cpu {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;
using Type = memory::data_type;

Type to_onednn(DType type) {
  switch (type) {
    case DType::kF32:
      return Type::f32;
    case DType::kBF16:
      return Type::bf16;
    default:
      fail(ErrorCode::kInternal, "the CPU backend does not compute in {}", to_string(type));
  }
}

// Calls oneDNN as if this process had that many threads; its errors become ours.
template <class Body>
auto on_threads(int threads, const Body& body) {
  decltype(body()) result{};
  std::exception_ptr failure;
#pragma omp parallel num_threads(1)
  {
    omp_set_num_threads(threads);
    try {
      result = body();
    } catch (...) {
      failure = std::current_exception();
    }
  }
  if (failure) {
    try {
      std::rethrow_exception(failure);
    } catch (const dnnl::error& e) {
      fail(ErrorCode::kInternal, "oneDNN cannot make a primitive: {} (status {})", e.what(),
           static_cast<int>(e.status));
    }
  }
  return result;
}

void append(dnnl::post_ops& ops, Activation activation) {
  using dnnl::algorithm;
  switch (activation) {
    case Activation::kNone:
      return;
    case Activation::kSilu:
      return ops.append_eltwise(1, algorithm::eltwise_swish, 1, 0);
    case Activation::kRelu:
      return ops.append_eltwise(1, algorithm::eltwise_relu, 0, 0);
    case Activation::kGelu:
      return ops.append_eltwise(1, algorithm::eltwise_gelu_erf, 0, 0);
    case Activation::kQuickGelu:
      return ops.append_eltwise(1, algorithm::eltwise_swish, 1.702F, 0);
  }
}

dnnl::primitive_attr attributes(const dnnl::post_ops& ops) {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  attr.set_post_ops(ops);
  return attr;
}

std::int64_t out_size(std::int64_t size, int before, int after, const ConvSpec& spec) {
  return (size + before + after - spec.kernel) / spec.stride + 1;
}

memory::dims conv_weight_dims(const ConvSpec& spec) {
  return {spec.out, spec.in, spec.kernel, spec.kernel};
}

dnnl::convolution_forward::primitive_desc conv_desc(const ConvShape& shape,
                                                    const memory::desc& weights,
                                                    const dnnl::engine& engine) {
  const ConvSpec& s = shape.spec;
  const Type type = to_onednn(shape.type);
  const std::int64_t oh = out_size(shape.height, s.pad_top, s.pad_bottom, s);
  const std::int64_t ow = out_size(shape.width, s.pad_left, s.pad_right, s);
  const memory::desc x({shape.images, s.in, shape.height, shape.width}, type, Tag::nhwc);
  const memory::desc y({shape.images, s.out, oh, ow}, type, Tag::nhwc);
  const memory::desc bias =
      shape.post.bias ? memory::desc({s.out}, Type::f32, Tag::a) : memory::desc();
  dnnl::post_ops ops;
  append(ops, shape.post.activation);
  // A tensor as a second operand would send these convolutions to a slow path; adding to what y
  // holds does not.
  if (shape.post.residual) ops.append_sum(1);
  append(ops, shape.post.last);
  const memory::dims strides = {s.stride, s.stride};
  const memory::dims before = {s.pad_top, s.pad_left}, after = {s.pad_bottom, s.pad_right};
  const auto prop = dnnl::prop_kind::forward_inference;
  const auto direct = dnnl::algorithm::convolution_direct;
  const auto desc = shape.post.bias ? dnnl::convolution_forward::desc(
                                          prop, direct, x, weights, bias, y, strides, before, after)
                                    : dnnl::convolution_forward::desc(prop, direct, x, weights, y,
                                                                      strides, before, after);
  return {desc, attributes(ops), engine};
}

dnnl::matmul::primitive_desc gemm_desc(const GemmShape& shape, const memory::desc& weights,
                                       const dnnl::engine& engine) {
  const memory::desc x({shape.rows, shape.in}, to_onednn(shape.type), Tag::ab);
  const memory::desc y({shape.rows, shape.out}, to_onednn(shape.result), Tag::ab);
  dnnl::post_ops ops;
  append(ops, shape.post.activation);
  if (shape.post.residual) {
    ops.append_binary(dnnl::algorithm::binary_add,
                      memory::desc({shape.rows, shape.out}, to_onednn(shape.result), Tag::ab));
  }
  append(ops, shape.post.last);
  const auto desc =
      shape.post.bias
          ? dnnl::matmul::desc(x, weights, memory::desc({1, shape.out}, Type::f32, Tag::ab), y)
          : dnnl::matmul::desc(x, weights, y);
  return {desc, attributes(ops), engine};
}

template <class Desc>
Plan plan_of(const dnnl::primitive& primitive, const Desc& desc) {
  Plan plan;
  plan.primitive = primitive;
  plan.x = desc.src_desc();
  plan.y = desc.dst_desc();
  plan.scratch_bytes = desc.scratchpad_desc().get_size();
  plan.implementation = desc.impl_info_str();
  return plan;
}

}  // namespace

Onednn::Onednn() : engine_(dnnl::engine::kind::cpu, 0) {}

std::string Onednn::version() const {
  const dnnl_version_t* v = dnnl_version();
  return fmt::format("{}.{}.{}-isa{}", v->major, v->minor, v->patch,
                     static_cast<int>(dnnl::get_effective_cpu_isa()));
}

PackedWeights Onednn::pack(const float* weight, const memory::desc& plain,
                           const memory::desc& wanted, int threads) {
  return on_threads(threads, [&] {
    // The library only reads through this pointer.
    memory from(plain, engine_, const_cast<float*>(weight));
    memory to(wanted, engine_);
    dnnl::stream stream(engine_);
    dnnl::reorder(from, to).execute(stream, from, to);
    stream.wait();
    return PackedWeights(to);
  });
}

PackedWeights Onednn::pack_linear(const float* weight, std::int64_t in, std::int64_t out,
                                  DType type, int threads) {
  // The layout depends on the sizes of the weights alone; 256 rows stand for any number.
  const auto wanted = on_threads(1, [&] {
    const memory::desc any({in, out}, to_onednn(type), Tag::any);
    return gemm_desc({256, in, out, type, type, {}}, any, engine_).weights_desc();
  });
  return pack(weight, memory::desc({in, out}, Type::f32, Tag::ba), wanted, threads);
}

PackedWeights Onednn::pack_conv(const float* weight, const ConvSpec& spec, DType type,
                                int threads) {
  const auto wanted = on_threads(1, [&] {
    ConvShape typical{1, 32, 32, spec, type, {}};
    const memory::desc any(conv_weight_dims(spec), to_onednn(type), Tag::any);
    return conv_desc(typical, any, engine_).weights_desc();
  });
  return pack(weight, memory::desc(conv_weight_dims(spec), Type::f32, Tag::oihw), wanted, threads);
}

Plan Onednn::make(const GemmShape& shape, const PackedWeights& weights) {
  return on_threads(1, [&] {
    const auto desc = gemm_desc(shape, weights.memory().get_desc(), engine_);
    Plan plan = plan_of(dnnl::matmul(desc), desc);
    if (shape.post.bias) plan.bias = desc.bias_desc();
    if (shape.post.residual) {
      plan.residual = memory::desc({shape.rows, shape.out}, to_onednn(shape.result), Tag::ab);
      plan.residual_index = shape.post.activation == Activation::kNone ? 0 : 1;
    }
    return plan;
  });
}

Plan Onednn::make(const ConvShape& shape, const PackedWeights& weights) {
  return on_threads(1, [&] {
    const auto desc = conv_desc(shape, weights.memory().get_desc(), engine_);
    Plan plan = plan_of(dnnl::convolution_forward(desc), desc);
    plan.residual_in_y = shape.post.residual;
    if (shape.post.bias) plan.bias = desc.bias_desc();
    return plan;
  });
}

const Plan& Onednn::find(const GemmShape& shape, const PackedWeights& weights) {
  auto& plan = gemms_[shape.key()];
  if (!plan) plan = std::make_unique<Plan>(make(shape, weights));
  return *plan;
}

const Plan& Onednn::find(const ConvShape& shape, const PackedWeights& weights) {
  auto& plan = convs_[shape.key()];
  if (!plan) plan = std::make_unique<Plan>(make(shape, weights));
  return *plan;
}

void Onednn::run(const Plan& plan, const Operands& operands, void* scratch) const {
  const auto at = [&](const memory::desc& desc, const void* data) {
    return memory(desc, engine_, const_cast<void*>(data));
  };
  std::unordered_map<int, memory> arguments{{DNNL_ARG_SRC, at(plan.x, operands.x)},
                                            {DNNL_ARG_WEIGHTS, operands.weights->memory()},
                                            {DNNL_ARG_DST, at(plan.y, operands.y)}};
  if (operands.bias != nullptr) arguments.emplace(DNNL_ARG_BIAS, at(plan.bias, operands.bias));
  if (plan.residual_in_y) {
    if (operands.residual != operands.y) {  // a caller may have put it there already
      std::memcpy(operands.y, operands.residual, plan.y.get_size());
    }
  } else if (operands.residual != nullptr) {
    arguments.emplace(DNNL_ARG_ATTR_MULTIPLE_POST_OP(plan.residual_index) | DNNL_ARG_SRC_1,
                      at(plan.residual, operands.residual));
  }
  if (plan.scratch_bytes > 0) {
    const memory::desc bytes({static_cast<std::int64_t>(plan.scratch_bytes)}, Type::u8, Tag::a);
    arguments.emplace(DNNL_ARG_SCRATCHPAD, at(bytes, scratch));
  }
  dnnl::stream stream(engine_);
  plan.primitive.execute(stream, arguments);
  stream.wait();
}

}  // namespace seamwright::model::cpu
