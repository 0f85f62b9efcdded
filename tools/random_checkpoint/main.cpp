// Writes a full-size Stable Diffusion 1.5 + motion adapter v3 folder with random weights.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/error.h"
#include "model/random_checkpoint.h"

int main(int argc, char** argv) {
  using namespace seamwright;
  model::RandomCheckpoint request;
  CLI::App app(
      "Writes a full-size Stable Diffusion 1.5 + motion adapter v3 folder with random F16 "
      "weights: for load and speed tests, its videos are noise.");
  app.add_option("folder", request.folder, "folder to make")->required();
  app.add_option("--tokenizer", request.tokenizer, "folder with vocab.json and merges.txt")
      ->required();
  app.add_option("--seed", request.seed, "seed of the weights")->capture_default_str();
  app.add_option("--shard-bytes", request.shard_bytes, "size above which a part is split")
      ->capture_default_str();
  app.add_option("--shrink", request.shrink, "divide all widths by 1, 2, 4 or 8")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    const std::size_t bytes = model::write_random_checkpoint(request);
    fmt::print("{}: {:.2f} GB\n", request.folder.string(), static_cast<double>(bytes) / 1e9);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "write_random_checkpoint: {}\n", error.what());
    return 1;
  }
}
