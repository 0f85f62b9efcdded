#include "model/ops.h"

namespace seamwright::model::ops {
namespace {

Tensor make(Exec& exec, const Shape& shape) {
  return Tensor(exec.arena, exec.backend.activation_type(), shape);
}

void check_activation(Exec& exec, const char* op, const char* what, ConstView x) {
  ensure(static_cast<bool>(x), "{}: {} is absent", op, what);
  ensure(x.dtype == exec.backend.activation_type(), "{}: {} is {}, but this backend computes in {}",
         op, what, to_string(x.dtype), to_string(exec.backend.activation_type()));
}

void check_rank(const char* op, const char* what, ConstView x, int rank) {
  ensure(x.shape.rank() == rank, "{}: {} must have {} dimensions, not {}", op, what, rank,
         x.shape.to_string());
}

void check_same(const char* op, ConstView a, ConstView b) {
  ensure(a.shape == b.shape, "{}: shapes {} and {} differ", op, a.shape.to_string(),
         b.shape.to_string());
}

Shape with_last(const Shape& shape, std::int64_t last) {
  std::array<std::int64_t, Shape::kMaxRank> dims{};
  for (int i = 0; i < shape.rank(); ++i) dims[static_cast<std::size_t>(i)] = shape[i];
  dims[static_cast<std::size_t>(shape.rank() - 1)] = last;
  return Shape(std::span<const std::int64_t>(dims.data(), static_cast<std::size_t>(shape.rank())));
}

// Networks ask for wide results everywhere alike; a backend without wide residuals gives none.
DType wide_residual(Exec& exec) {
  return exec.backend.wide_residuals() ? exec.backend.wide_type() : exec.backend.activation_type();
}

void check_epilogue(Exec& exec, const char* op, const Epilogue& epilogue, const Shape& y,
                    DType type) {
  if (const ConstView& p = epilogue.per_channel) {
    check_activation(exec, op, "per_channel", p);
    const bool row = p.shape.rank() == 1 && p.shape[0] == y.last();
    const std::int64_t rows = y.last() > 0 ? y.elements() / y.last() : 0;
    const bool rows_match =
        p.shape.rank() == 2 && p.shape[1] == y.last() && p.shape[0] > 0 && rows % p.shape[0] == 0;
    ensure(row || rows_match, "{}: per_channel {} does not fit a result {}", op,
           p.shape.to_string(), y.to_string());
  }
  if (const ConstView& r = epilogue.residual) {
    ensure(r.dtype == type, "{}: a residual of {} cannot be added to a result of {}", op,
           to_string(r.dtype), to_string(type));
    ensure(r.shape == y, "{}: residual {} does not fit a result {}", op, r.shape.to_string(),
           y.to_string());
  }
}

// The result of an attention whose queries, keys and values lie side by side.
Tensor for_joined(Exec& exec, const char* op, int heads, ConstView qkv) {
  check_activation(exec, op, "qkv", qkv);
  check_rank(op, "qkv", qkv, 3);
  ensure(heads > 0 && qkv.shape[2] % (3 * heads) == 0,
         "{}: {} channels are not three times as many as divide into {} heads", op, qkv.shape[2],
         heads);
  return make(exec, with_last(qkv.shape, qkv.shape[2] / 3));
}

}  // namespace

Tensor conv2d(Exec& exec, const PreparedConv& conv, ConstView x, const Epilogue& epilogue) {
  constexpr const char* kOp = "conv2d";
  const ConvSpec& s = conv.spec;
  check_activation(exec, kOp, "x", x);
  check_rank(kOp, "x", x, 4);
  ensure(x.shape[3] == s.in, "{}: x {} must have {} channels", kOp, x.shape.to_string(), s.in);
  const std::int64_t h = x.shape[1] + s.pad_top + s.pad_bottom - s.kernel;
  const std::int64_t w = x.shape[2] + s.pad_left + s.pad_right - s.kernel;
  ensure(h >= 0 && w >= 0, "{}: x {} is smaller than the {}x{} kernel", kOp, x.shape.to_string(),
         s.kernel, s.kernel);
  const Shape shape{x.shape[0], h / s.stride + 1, w / s.stride + 1, s.out};
  Tensor y =
      s.wide_result ? Tensor(exec.arena, exec.backend.wide_type(), shape) : make(exec, shape);
  check_epilogue(exec, kOp, epilogue, shape, y.dtype());
  exec.backend.conv2d(conv, x, epilogue, y, exec.arena);
  return y;
}

Tensor linear(Exec& exec, const PreparedLinear& linear, ConstView x, const Epilogue& epilogue,
              Result result) {
  check_activation(exec, "linear", "x", x);
  ensure(x.shape.rank() >= 1 && x.shape.last() == linear.in, "linear: x {} must end in {}",
         x.shape.to_string(), linear.in);
  const Shape shape = with_last(x.shape, linear.out);
  Tensor y =
      result == Result::kWide ? Tensor(exec.arena, wide_residual(exec), shape) : make(exec, shape);
  check_epilogue(exec, "linear", epilogue, shape, y.dtype());
  exec.backend.linear(linear, x, epilogue, y, exec.arena);
  return y;
}

Tensor geglu(Exec& exec, const PreparedLinear& linear, ConstView x) {
  check_activation(exec, "geglu", "x", x);
  ensure(x.shape.rank() >= 1 && x.shape.last() == linear.in, "geglu: x {} must end in {}",
         x.shape.to_string(), linear.in);
  Tensor y = make(exec, with_last(x.shape, linear.out));
  exec.backend.geglu(linear, x, y, exec.arena);
  return y;
}

Tensor group_norm(Exec& exec, const PreparedNorm& norm, int groups, NormExtent extent,
                  Activation activation, ConstView x) {
  constexpr const char* kOp = "group_norm";
  if (x.dtype != wide_residual(exec)) check_activation(exec, kOp, "x", x);
  check_rank(kOp, "x", x, 4);
  ensure(x.shape[3] == norm.channels, "{}: x {} must have {} channels", kOp, x.shape.to_string(),
         norm.channels);
  ensure(groups > 0 && norm.channels % groups == 0, "{}: {} channels do not divide into {} groups",
         kOp, norm.channels, groups);
  ensure(x.elements() > 0, "{}: x {} is empty", kOp, x.shape.to_string());
  Tensor y = make(exec, x.shape);
  exec.backend.group_norm(norm, groups, extent, activation, x, y, exec.arena);
  return y;
}

Tensor layer_norm(Exec& exec, const PreparedNorm& norm, ConstView x, ConstView position) {
  check_activation(exec, "layer_norm", "x", x);
  ensure(x.shape.rank() >= 1 && x.shape.last() == norm.channels, "layer_norm: x {} must end in {}",
         x.shape.to_string(), norm.channels);
  if (position) {
    check_activation(exec, "layer_norm", "position", position);
    ensure(x.shape.rank() >= 2 && position.shape == Shape({x.shape[0], norm.channels}),
           "layer_norm: position {} does not fit x {}", position.shape.to_string(),
           x.shape.to_string());
  }
  Tensor y = make(exec, x.shape);
  exec.backend.layer_norm(norm, x, position, y);
  return y;
}

Tensor attention(Exec& exec, int heads, bool causal, ConstView q, ConstView k, ConstView v) {
  constexpr const char* kOp = "attention";
  check_activation(exec, kOp, "q", q);
  check_activation(exec, kOp, "k", k);
  check_activation(exec, kOp, "v", v);
  check_rank(kOp, "q", q, 3);
  check_rank(kOp, "k", k, 3);
  check_same(kOp, k, v);
  ensure(heads > 0 && q.shape[2] % heads == 0, "{}: {} channels do not divide into {} heads", kOp,
         q.shape[2], heads);
  ensure(k.shape[2] == q.shape[2] && (k.shape[0] == q.shape[0] || k.shape[0] == 1),
         "{}: keys {} do not fit queries {}", kOp, k.shape.to_string(), q.shape.to_string());
  ensure(k.shape[1] > 0, "{}: there are no keys", kOp);
  ensure(!causal || k.shape[1] == q.shape[1], "{}: causal needs as many keys as queries", kOp);
  Tensor y = make(exec, q.shape);
  exec.backend.attention(heads, causal, q, k, v, y, exec.arena);
  return y;
}

Tensor temporal_attention(Exec& exec, int heads, ConstView q, ConstView k, ConstView v) {
  constexpr const char* kOp = "temporal_attention";
  check_activation(exec, kOp, "q", q);
  check_activation(exec, kOp, "k", k);
  check_activation(exec, kOp, "v", v);
  check_rank(kOp, "q", q, 3);
  check_same(kOp, q, k);
  check_same(kOp, k, v);
  ensure(heads > 0 && q.shape[2] % heads == 0, "{}: {} channels do not divide into {} heads", kOp,
         q.shape[2], heads);
  Tensor y = make(exec, q.shape);
  exec.backend.temporal_attention(heads, q, k, v, y, exec.arena);
  return y;
}

Tensor self_attention(Exec& exec, int heads, ConstView qkv) {
  Tensor y = for_joined(exec, "self_attention", heads, qkv);
  exec.backend.self_attention(heads, qkv, y, exec.arena);
  return y;
}

Tensor temporal_self_attention(Exec& exec, int heads, ConstView qkv) {
  Tensor y = for_joined(exec, "temporal_self_attention", heads, qkv);
  exec.backend.temporal_self_attention(heads, qkv, y, exec.arena);
  return y;
}

Tensor add(Exec& exec, ConstView a, ConstView b) {
  check_activation(exec, "add", "a", a);
  check_activation(exec, "add", "b", b);
  check_same("add", a, b);
  Tensor y = make(exec, a.shape);
  exec.backend.add(a, b, y);
  return y;
}

Tensor activate(Exec& exec, Activation activation, ConstView x) {
  check_activation(exec, "activate", "x", x);
  Tensor y = make(exec, x.shape);
  exec.backend.activate(activation, x, y);
  return y;
}

Tensor soft_clamp(Exec& exec, double limit, ConstView x) {
  check_activation(exec, "soft_clamp", "x", x);
  ensure(limit > 0, "soft_clamp: the limit must be positive, not {}", limit);
  Tensor y = make(exec, x.shape);
  exec.backend.soft_clamp(limit, x, y);
  return y;
}

Tensor affine(Exec& exec, double scale, double shift, ConstView x) {
  check_activation(exec, "affine", "x", x);
  Tensor y = make(exec, x.shape);
  exec.backend.affine(scale, shift, x, y);
  return y;
}

Tensor concat_channels(Exec& exec, ConstView a, ConstView b) {
  constexpr const char* kOp = "concat_channels";
  check_activation(exec, kOp, "a", a);
  check_activation(exec, kOp, "b", b);
  ensure(a.shape.rank() >= 1 && b.shape.rank() == a.shape.rank() &&
             with_last(a.shape, 1) == with_last(b.shape, 1),
         "{}: {} and {} differ before the channels", kOp, a.shape.to_string(), b.shape.to_string());
  Tensor y = make(exec, with_last(a.shape, a.shape.last() + b.shape.last()));
  exec.backend.concat_channels(a, b, y);
  return y;
}

Tensor upsample_nearest(Exec& exec, ConstView x, std::int64_t height, std::int64_t width) {
  check_activation(exec, "upsample_nearest", "x", x);
  check_rank("upsample_nearest", "x", x, 4);
  ensure(height >= x.shape[1] && width >= x.shape[2], "upsample_nearest: {} cannot shrink to {}x{}",
         x.shape.to_string(), height, width);
  Tensor y = make(exec, {x.shape[0], height, width, x.shape[3]});
  exec.backend.upsample_nearest(x, y);
  return y;
}

Tensor pixels_to_rgb8(Exec& exec, ConstView x) {
  if (x.dtype != exec.backend.wide_type()) check_activation(exec, "pixels_to_rgb8", "x", x);
  ensure(static_cast<bool>(x), "pixels_to_rgb8: x is absent");
  Tensor y(exec.arena, DType::kU8, x.shape);
  exec.backend.pixels_to_rgb8(x, y);
  return y;
}

Tensor gather_rows(Exec& exec, ConstView table, std::span<const std::int32_t> ids) {
  check_activation(exec, "gather_rows", "table", table);
  check_rank("gather_rows", "table", table, 2);
  for (std::int32_t id : ids) {
    ensure(id >= 0 && id < table.shape[0], "gather_rows: row {} is outside a table of {}", id,
           table.shape[0]);
  }
  Tensor y = make(exec, {static_cast<std::int64_t>(ids.size()), table.shape[1]});
  exec.backend.gather_rows(table, ids, y);
  return y;
}

Tensor upload(Exec& exec, ConstView host) {
  ensure(host.dtype == DType::kF32 || host.dtype == DType::kF64,
         "upload: host values are {}, but must be F32 or F64", to_string(host.dtype));
  Tensor y = make(exec, host.shape);
  exec.backend.upload(host, y);
  return y;
}

}  // namespace seamwright::model::ops
