// The HTTP surface over a service in memory whose jobs finish by themselves, for clients of other
// languages: prints its address, ends when its standard input ends.
//   http_fake_server VIDEO_FILE [MILLISECONDS_PER_JOB [API_KEY]]
#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>

#include "coordinator/http/server.h"
#include "tests/unit/coordinator/http/fake_service.h"

int main(int argc, char** argv) {
  using namespace seamwright::coordinator;
  if (argc < 2) return 2;
  FakeService service;
  service.complete_all_with(argv[1],
                            std::chrono::milliseconds(argc > 2 ? std::atoi(argv[2]) : 300));
  http::ServerOptions options;
  if (argc > 3)
    options.api.keys = http::ApiKeys::parse(fmt::format("client {} admin", argv[3]), "key");
  http::Server server(service, std::move(options));
  fmt::print("{}\n", server.url());
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  return 0;
}
