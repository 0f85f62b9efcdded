// The measurement behind `seamwright bench service`: a service with many stored jobs that makes a
// video while clients poll, follow and submit.
// Threads: call from one thread.
#pragma once

#include <ostream>
#include <string>

namespace seamwright::bench {

struct ServiceBenchOptions {
  std::string program;  // seamwright itself
  int stored = 10000;   // jobs in the store: nine of ten final, the others waiting
  int pollers = 200, streams = 50, slow = 1000;
  int seconds = 20;  // of load
  int threads = 1;   // of the gang
  std::string model = "demo/few_step";
  std::string data;  // folder for it; "" = a temporary one, removed again
  std::string json;  // write all numbers here; "" = do not
};

// Prints a table. 0 when every answer was right, else 1; the targets are shown, not judged.
int run_bench_service(const ServiceBenchOptions& options, std::ostream& out);

}  // namespace seamwright::bench
