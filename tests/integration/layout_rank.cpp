// One rank of a gang under mpirun that runs a list of jobs, one after another, as a gang that
// serves a coordinator does: layout_rank JOBS REPORTS, both JSON arrays.
#include <cstdio>
#include <exception>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "comm/mpi/mpi_fabric.h"
#include "worker/gang_job.h"
#include "worker/generate.h"

namespace {

void run_jobs(seamwright::comm::Fabric& fabric, const char* jobs, const char* reports) {
  using Json = nlohmann::json;
  const auto models = std::make_shared<seamwright::worker::ModelCache>();
  Json done = Json::array();
  std::uint32_t run = 0;
  for (const Json& text : Json::parse(std::ifstream(jobs))) {
    auto options = seamwright::worker::parse_gang_job(text.get<std::string>());
    options.models = models;
    options.run = ++run;
    done.push_back(
        seamwright::worker::generate_as_rank(options, {}, fabric.rank(), &fabric).report);
    // After each, for those who ask where a gang was lost.
    if (fabric.rank() == 0) std::ofstream(reports) << done.dump();
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const auto fabric = seamwright::comm::connect_mpi();
  try {
    run_jobs(*fabric, argv[1], argv[2]);
    fabric->close();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d: %s\n", fabric->rank(), error.what());
    fabric->abort(error.what());
    return 1;
  }
}
