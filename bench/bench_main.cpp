// Runs one benchmark without the rest of the program.
#include <CLI/CLI.hpp>
#include <iostream>

#include "base/error.h"
#include "bench/bench.h"

int main(int argc, char** argv) {
  seamwright::bench::BenchOptions options;
  CLI::App app("Measurements of the networks on this machine");
  app.require_subcommand(1);
  app.add_option("--precision", options.precision, "fp32 or bf16");
  app.add_option("--threads", options.threads)->check(CLI::PositiveNumber);
  app.add_option("--repeats", options.repeats)->check(CLI::PositiveNumber);
  app.add_option("--frames", options.frames)->check(CLI::Range(1, 32));
  app.add_option("--width", options.width)->check(CLI::Range(64, 2048));
  app.add_option("--height", options.height)->check(CLI::Range(64, 2048));
  app.add_option("--json", options.json, "write results to this file");
  app.add_option("--out-raw", options.out_raw, "write the prediction to this file");
  app.fallthrough();
  CLI::App* unet = app.add_subcommand("unet", "one forward of the full-size U-Net");
  app.add_subcommand("ops", "the same, op by op");
  CLI11_PARSE(app, argc, argv);
  try {
    return unet->parsed() ? seamwright::bench::run_bench_unet(options, std::cout)
                          : seamwright::bench::run_bench_ops(options, std::cout);
  } catch (const std::exception& e) {
    std::cerr << "error: " << e.what() << '\n';
    return 2;
  }
}
