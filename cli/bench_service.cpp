// The verb `bench service`.
#include <filesystem>
#include <iostream>
#include <memory>

#include "bench/service_bench.h"
#include "cli/bench_verbs.h"

namespace seamwright::cli {

void add_bench_service(CLI::App& bench, Command& command) {
  auto* verb = bench.add_subcommand(
      "service", "a service with many jobs that makes a video while clients poll and submit");
  const auto options = std::make_shared<bench::ServiceBenchOptions>();
  auto& o = *options;
  verb->add_option("--stored", o.stored, "jobs in the store")
      ->check(CLI::Range(10, 1000000))
      ->capture_default_str();
  verb->add_option("--pollers", o.pollers, "clients that ask for a status once a second")
      ->check(CLI::Range(0, 3000))
      ->capture_default_str();
  verb->add_option("--streams", o.streams, "clients that follow the events of the video")
      ->check(CLI::Range(0, 3000))
      ->capture_default_str();
  verb->add_option("--slow", o.slow, "connections that send a byte a second")
      ->check(CLI::Range(0, 3000))
      ->capture_default_str();
  verb->add_option("--seconds", o.seconds, "of load")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  verb->add_option("--threads", o.threads, "of the gang")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  verb->add_option("--model", o.model, "that makes the video")->capture_default_str();
  verb->add_option("--data", o.data, "a fresh data folder; a temporary one when not given");
  verb->add_option("--json", o.json, "write all numbers to this file");
  verb->callback([options, &command] {
    command.run = [options] {
      options->program = std::filesystem::read_symlink("/proc/self/exe").string();
      return bench::run_bench_service(*options, std::cout);
    };
  });
}

}  // namespace seamwright::cli
