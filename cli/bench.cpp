// `seamwright bench`: measurements of the networks on this machine.
#include "bench/bench.h"

#include <iostream>
#include <memory>
#include <string>

#include "base/request.h"
#include "cli/bench_verbs.h"
#include "cli/commands.h"

namespace seamwright::cli {
namespace {

struct BenchFlags {
  bench::BenchOptions options;
  std::string size = "256x256";
};

void add_measurement(CLI::App& bench, Command& command, const char* name, const char* about,
                     int (*measure)(const bench::BenchOptions&, std::ostream&)) {
  auto* verb = bench.add_subcommand(name, about);
  const auto flags = std::make_shared<BenchFlags>();
  auto& o = flags->options;
  verb->add_option("--device", o.device, "cpu or cuda")->capture_default_str();
  verb->add_option("--precision", o.precision, "fp32 or bf16; on cuda also fp16")
      ->capture_default_str();
  verb->add_option("--threads", o.threads, "threads of the CPU backend")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--repeats", o.repeats, "timed runs; the least counts")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--frames", o.frames, "frames of the window, at most 32")
      ->check(CLI::Range(1, 32))
      ->capture_default_str();
  verb->add_option("--size", flags->size, "WxH in pixels")->capture_default_str();
  verb->add_option("--report", o.json, "write all numbers to this JSON file");
  verb->add_option("--out-raw", o.out_raw,
                   "write the output, fp32 ([F, h, w, C] or [77, C]), to this file");
  verb->callback([flags, measure, &command] {
    command.run = [flags, measure] {
      parse_size(flags->size, flags->options.width, flags->options.height);
      return measure(flags->options, std::cout);
    };
  });
}

}  // namespace

void add_bench(CLI::App& app, Command& command) {
  auto* bench = app.add_subcommand(
      "bench",
      "measure this machine: a full-size forward, its VAE and ops, how layouts scale, a service");
  bench->require_subcommand(1);
  add_measurement(*bench, command, "unet", "time, memory and rate, by kind of op",
                  bench::run_bench_unet);
  add_measurement(*bench, command, "vae", "Stable Diffusion's VAE decoder, --frames at once",
                  bench::run_bench_vae);
  add_measurement(*bench, command, "vae-encode", "Stable Diffusion's VAE encoder, --frames at once",
                  bench::run_bench_vae_encode);
  add_measurement(*bench, command, "text", "Stable Diffusion's text encoder, one prompt",
                  bench::run_bench_text);
  add_measurement(*bench, command, "ops", "every op and shape against the measured peak",
                  bench::run_bench_ops);
  add_bench_scaling(*bench, command);
  add_bench_service(*bench, command);
}

}  // namespace seamwright::cli
