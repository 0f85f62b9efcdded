#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "bench/bench.h"
#include "bench/formula_weights.h"
#include "bench/peak.h"
#include "bench/pixel_costs.h"
#include "bench/timed_backend.h"
#include "model/arena.h"
#include "model/cpu/cpu_backend.h"
#include "model/cuda/cuda_backend.h"
#include "model/nets/clip_text.h"
#include "model/nets/unet.h"
#include "model/nets/vae.h"

namespace seamwright::bench {
namespace {

using namespace model;  // NOLINT: every name here is one of the engine's
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

UNetConfig full_size() {
  UNetConfig config;  // the defaults are SD1.5
  config.motion.emplace();
  config.motion->use_mid_block = false;  // v3
  return config;
}

Tensor formula_tensor(std::string_view name, const Shape& shape) {
  Tensor t(heap(), DType::kF32, shape);
  const std::uint32_t hash = formula_hash(name);
  for (std::int64_t i = 0; i < shape.elements(); ++i) {
    t.view().as<float>()[i] = 1.7F * formula_value(hash, static_cast<std::uint32_t>(i));
  }
  return t;
}

std::unique_ptr<Backend> backend_for(const BenchOptions& o) {
  require(o.device == "cpu" || o.device == "cuda", "--device must be cpu or cuda, not '{}'",
          o.device);
  const bool known = o.precision == "fp32" || o.precision == "bf16" ||
                     (o.device == "cuda" && o.precision == "fp16");
  require(known, "--precision must be fp32 or bf16 (on cuda also fp16), not '{}'", o.precision);
  const DType type = o.precision == "fp32"   ? DType::kF32
                     : o.precision == "bf16" ? DType::kBF16
                                             : DType::kF16;
  if (o.device == "cuda") return make_cuda_backend({.activation = type});
  return make_cpu_backend(type, o.threads);
}

// A loaded network with its inputs.
class Rig {
 public:
  explicit Rig(const BenchOptions& o) : backend(backend_for(o)), timed(*backend), ledger(weights) {}

  // What is measured: one evaluation on the given context.
  std::function<Tensor(Exec&)> evaluate;

  // One evaluation, its seconds and result as fp32 on the host.
  std::vector<float> forward(Backend& on, double* seconds) {
    Exec exec{on, arena};
    on.synchronize();
    const auto start = Clock::now();
    const Tensor y = evaluate(exec);
    on.synchronize();
    *seconds = seconds_since(start);
    Tensor host(heap(), DType::kF32, y.shape());
    on.download(y, host);
    const auto* data = host.view().as<float>();
    return {data, data + host.shape().elements()};
  }
  void note_load(const LoadContext& load, Clock::time_point start) {
    backend->synchronize();
    load_seconds = seconds_since(start);
    resident_bytes = load.resident_bytes;
    parameters = load.parameters;
  }

  std::unique_ptr<Backend> backend;
  TimedBackend timed;
  FormulaWeights weights;
  WeightLedger ledger;
  Arena arena{backend->memory()};
  Tensor sample_host, sample;
  std::string title;
  double load_seconds = 0;
  std::size_t resident_bytes = 0;
  std::int64_t parameters = 0;
};

class UNetRig : public Rig {
 public:
  explicit UNetRig(const BenchOptions& o)
      : Rig(o), context_(formula_tensor("context", {1, 77, 768})) {
    const auto start = Clock::now();
    LoadContext load{ledger, *backend};
    unet_ = std::make_unique<UNet>(full_size(), load, nullptr);
    note_load(load, start);
    title = "SD1.5 + AnimateDiff v3";
    sample_host = formula_tensor("sample", {o.frames, o.height / 8, o.width / 8, 4});
    Exec exec{*backend, backend->memory()};
    sample = ops::upload(exec, sample_host);
    evaluate = [this](Exec& on) {
      const bool whole = accelerated_ && &on.backend == backend.get();
      const Denoiser& denoiser = whole ? *accelerated_ : *unet_;
      return denoiser.predict(on, sample, {.timestep = 481, .context = &context_});
    };
    accelerated_ = backend->accelerated(*unet_);
  }

 private:
  PromptContext context_;
  std::unique_ptr<UNet> unet_;
  std::unique_ptr<Denoiser> accelerated_;
};

class VaeRig : public Rig {
 public:
  VaeRig(const BenchOptions& o, bool decode) : Rig(o) {
    const auto start = Clock::now();
    LoadContext load{ledger, *backend};
    vae_ = std::make_unique<AutoencoderKL>(load, VaeConfig{});
    note_load(load, start);
    title = fmt::format("Stable Diffusion's VAE, {}", decode ? "decoding" : "encoding");
    sample_host = decode ? formula_tensor("latents", {o.frames, o.height / 8, o.width / 8, 4})
                         : formula_tensor("pixels", {o.frames, o.height, o.width, 3});
    Exec exec{*backend, backend->memory()};
    sample = ops::upload(exec, sample_host);
    evaluate = [this, decode](Exec& on) {
      return decode ? vae_->decode(on, sample) : vae_->encode(on, sample);
    };
  }

 private:
  std::unique_ptr<AutoencoderKL> vae_;
};

class TextRig : public Rig {
 public:
  explicit TextRig(const BenchOptions& o) : Rig(o) {
    const auto start = Clock::now();
    LoadContext load{ledger, *backend};
    const ClipTextConfig config;  // Stable Diffusion 1.5's
    text_ = std::make_unique<ClipText>(load, config);
    note_load(load, start);
    title = "Stable Diffusion's text encoder, 77 tokens";
    for (std::int32_t i = 0; i < 77; ++i)
      ids_.push_back(static_cast<std::int32_t>(i * 619 % 49408));
    evaluate = [this](Exec& on) { return (*text_)(on, ids_); };
  }

 private:
  std::unique_ptr<ClipText> text_;
  std::vector<std::int32_t> ids_;
};

struct Measured {
  double least = 1e30;
  std::vector<double> all;
  std::vector<float> prediction;
  std::map<std::string, OpRecord> ops;  // of one more run, op by op
  double ops_seconds = 0;               // their sum
  bool sound = true;
};

Measured measure(Rig& rig, const BenchOptions& options) {
  Measured m;
  double seconds = 0;
  const auto again = [&](Backend& on) {
    const std::vector<float> result = rig.forward(on, &seconds);
    m.sound = m.sound && result.size() == m.prediction.size() &&
              std::memcmp(result.data(), m.prediction.data(), result.size() * sizeof(float)) == 0;
  };
  m.prediction = rig.forward(*rig.backend, &seconds);  // makes primitives, fills caches
  for (int i = 0; i < 2 && options.device == "cuda"; ++i) again(*rig.backend);  // until captured
  for (int i = 0; i < options.repeats; ++i) {
    again(*rig.backend);
    m.all.push_back(seconds);
    m.least = std::min(m.least, seconds);
  }
  if (options.per_op) {
    rig.timed.clear();
    again(rig.timed);
    m.ops = rig.timed.records();
  }
  for (const auto& [key, op] : m.ops) m.ops_seconds += op.seconds;
  for (const float v : m.prediction) m.sound = m.sound && std::isfinite(v);
  return m;
}

Peak peak_for(const BenchOptions& options, Rig& rig) {
  return options.device == "cpu" ? measure_peak(options.threads) : measure_peak_of(*rig.backend);
}

double total_flops(const Measured& m) {
  double sum = 0;
  for (const auto& [key, op] : m.ops) sum += op.flops;
  return sum;
}

nlohmann::json to_json(const BenchOptions& o, const Rig& rig, const Measured& m, const Peak& peak) {
  nlohmann::json ops = nlohmann::json::array();
  for (const auto& [key, op] : m.ops) {
    ops.push_back({{"op", key},
                   {"calls", op.calls},
                   {"seconds", op.seconds},
                   {"cpu_seconds", op.cpu_seconds},
                   {"flops", op.flops},
                   {"bytes", op.bytes}});
  }
  return {{"network", rig.title},
          {"device", o.device},
          {"precision", o.precision},
          {"threads", o.threads},
          {"frames", o.frames},
          {"width", o.width},
          {"height", o.height},
          {"seconds", m.least},
          {"all_seconds", m.all},
          {"seconds_op_by_op", m.ops_seconds},
          {"flops", total_flops(m)},
          {"load_seconds", rig.load_seconds},
          {"resident_bytes", rig.resident_bytes},
          {"parameters", rig.parameters},
          {"arena_bytes", rig.arena.report().block_bytes},
          {"fma_gflops", peak.fma_gflops},
          {"gemm_f32_gflops", peak.gemm_f32_gflops},
          {"gemm_bf16_gflops", peak.gemm_bf16_gflops},
          {"copy_gbytes", peak.copy_gbytes},
          {"sound", m.sound},
          {"fingerprint", rig.backend->fingerprint()},
          {"ops", ops}};
}

void print_head(const BenchOptions& o, const Rig& rig, const Measured& m, const Peak& peak,
                std::ostream& out) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  out << fmt::format("{}, {} frames {}x{}, {}, {} threads ({})\n", rig.title, o.frames, o.width,
                     o.height, o.precision, o.threads, rig.backend->fingerprint());
  out << fmt::format(
      "peak: fp32 FMA {:.0f}, product fp32 {:.0f}, 16 bits {:.0f} GFLOP/s; copy "
      "{:.1f} GB/s\n",
      peak.fma_gflops, peak.gemm_f32_gflops, peak.gemm_bf16_gflops, peak.copy_gbytes);
  out << fmt::format(
      "load {:.1f} s; weights {:.2f} GiB resident; activations {:.2f} GiB; process "
      "peak {:.2f} GiB\n",
      rig.load_seconds, static_cast<double>(rig.resident_bytes) / (1 << 30),
      static_cast<double>(rig.arena.report().block_bytes) / (1 << 30),
      static_cast<double>(usage.ru_maxrss) / (1 << 20));
  out << fmt::format("forward {:.4f} s (least of {}), {:.2f} TFLOP, {:.0f} GFLOP/s\n", m.least,
                     o.repeats, total_flops(m) / 1e12, total_flops(m) / m.least / 1e9);
  if (!m.sound) out << "FAILED: the output is not finite, or not the same at every repeat\n";
}

void write_results(const BenchOptions& o, const nlohmann::json& json, const Measured& m) {
  if (!o.json.empty()) {
    std::ofstream file(o.json);
    file << json.dump(1) << '\n';
    require(static_cast<bool>(file.flush()), "cannot write {}", o.json);
  }
  if (!o.out_raw.empty()) {
    std::ofstream file(o.out_raw, std::ios::binary);
    file.write(reinterpret_cast<const char*>(m.prediction.data()),
               static_cast<std::streamsize>(m.prediction.size() * sizeof(float)));
    require(static_cast<bool>(file.flush()), "cannot write {}", o.out_raw);
  }
}

}  // namespace

namespace {

// Of a decoder: what its frames cost afterwards.
nlohmann::json report_pixels(Rig& rig, std::ostream& out) {
  Exec exec{*rig.backend, rig.arena};
  const Tensor decoded = rig.evaluate(exec);
  const auto& latents = rig.sample_host.shape();
  const auto values = static_cast<std::size_t>(latents.elements() / latents[0]);
  const PixelCosts c = measure_pixels(*rig.backend, decoded, values);
  out << fmt::format(
      "a frame afterwards: to bytes {:.3f} ms, read back {:.3f} ms (as fp32 {:.3f}), hash of its "
      "latent {:.3f} ms, seam measures {:.3f} ms\n",
      c.to_bytes * 1e3, c.read_back * 1e3, c.float_read * 1e3, c.latent_hash * 1e3, c.seams * 1e3);
  return {{"to_bytes", c.to_bytes},
          {"read_back", c.read_back},
          {"float_read", c.float_read},
          {"latent_hash", c.latent_hash},
          {"seams", c.seams}};
}

// The table of one network by kind of op.
int report_kinds(const BenchOptions& options, Rig& rig, std::ostream& out, bool decoder = false) {
  const Measured m = measure(rig, options);
  const Peak peak = peak_for(options, rig);
  print_head(options, rig, m, peak, out);
  std::map<std::string, OpRecord> kinds;
  for (const auto& [key, op] : m.ops) {
    OpRecord& kind = kinds[key.substr(0, key.find(' '))];
    kind.calls += op.calls;
    kind.seconds += op.seconds;
    kind.flops += op.flops;
    kind.bytes += op.bytes;
  }
  for (const auto& [kind, op] : kinds) {
    out << fmt::format("  {:22} {:5} calls {:8.1f} ms {:5.1f} % {:7.0f} GFLOP/s {:7.0f} GB/s\n",
                       kind, op.calls, op.seconds * 1e3, 100 * op.seconds / m.ops_seconds,
                       op.flops / op.seconds / 1e9, op.bytes / op.seconds / 1e9);
  }
  auto json = to_json(options, rig, m, peak);
  if (decoder) json["seconds_a_frame_afterwards"] = report_pixels(rig, out);
  write_results(options, json, m);
  return m.sound ? 0 : 1;
}

}  // namespace

int run_bench_unet(const BenchOptions& options, std::ostream& out) {
  UNetRig rig(options);
  return report_kinds(options, rig, out);
}

int run_bench_vae(const BenchOptions& options, std::ostream& out) {
  VaeRig rig(options, true);
  return report_kinds(options, rig, out, true);
}

int run_bench_vae_encode(const BenchOptions& options, std::ostream& out) {
  VaeRig rig(options, false);
  return report_kinds(options, rig, out);
}

int run_bench_text(const BenchOptions& options, std::ostream& out) {
  TextRig rig(options);
  return report_kinds(options, rig, out);
}

int run_bench_ops(const BenchOptions& options, std::ostream& out) {
  UNetRig rig(options);
  const Measured m = measure(rig, options);
  const Peak peak = peak_for(options, rig);
  print_head(options, rig, m, peak, out);
  const double limit = options.precision != "fp32"
                           ? peak.gemm_bf16_gflops
                           : std::max(peak.fma_gflops, peak.gemm_f32_gflops);
  std::vector<std::pair<std::string, OpRecord>> sorted(m.ops.begin(), m.ops.end());
  std::ranges::sort(
      sorted, [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  out << fmt::format("{:58} {:>5} {:>9} {:>8} {:>7} {:>7} {:>9}\n", "op", "calls", "ms", "GFLOP/s",
                     "of peak", "GB/s", "CPU ms");
  for (const auto& [key, op] : sorted) {
    const double rate = op.flops / op.seconds / 1e9;
    out << fmt::format("{:58} {:5} {:9.2f} {:8.0f} {:6.0f}% {:7.1f} {:9.2f}\n", key, op.calls,
                       op.seconds * 1e3, rate, 100 * rate / limit, op.bytes / op.seconds / 1e9,
                       op.cpu_seconds * 1e3);
  }
  write_results(options, to_json(options, rig, m, peak), m);
  return m.sound ? 0 : 1;
}

}  // namespace seamwright::bench
