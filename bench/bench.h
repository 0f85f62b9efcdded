// The measurements behind `seamwright bench unet|ops`: they check results while timing.
// Threads: call from one thread.
#pragma once

#include <ostream>
#include <string>

namespace seamwright::bench {

struct BenchOptions {
  std::string device = "cpu";      // or cuda
  std::string precision = "fp32";  // or bf16; on cuda also fp16
  int threads = 2;
  int repeats = 3;     // the least of these counts: other work only ever adds
  bool per_op = true;  // one more run, timed op by op
  int frames = 16, width = 256, height = 256;
  std::string json;     // write results here; empty: do not
  std::string out_raw;  // write the prediction here as float32 [F, h, w, 4]; empty: do not
};

// Full-size SD1.5 + AnimateDiff v3 with weights by formula: one forward, one guidance branch.
// Returns 0 when the output is finite and the same at every repeat, else 1.
int run_bench_unet(const BenchOptions& options, std::ostream& out);
// The decoder of Stable Diffusion's VAE on `frames` frames at once, with weights by formula.
int run_bench_vae(const BenchOptions& options, std::ostream& out);
// Its encoder, on `frames` pictures at once.
int run_bench_vae_encode(const BenchOptions& options, std::ostream& out);
// One prompt through Stable Diffusion 1.5's text encoder; frames and size play no part.
int run_bench_text(const BenchOptions& options, std::ostream& out);
// The U-Net's forward op by op: how often each shape runs, its rate, and its share of the peak.
int run_bench_ops(const BenchOptions& options, std::ostream& out);

}  // namespace seamwright::bench
