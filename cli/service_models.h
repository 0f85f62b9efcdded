// The models a service offers by name, and the check of requests against them.
// Threads: safe from any thread after construction.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/request.h"

namespace seamwright::cli {

// Names of the model folders on this machine: "demo", "demo/few_step" ...
std::vector<std::string> model_names();

class ServiceModels {
 public:
  ServiceModels();
  ~ServiceModels();

  // Fills in every default and refuses, as Error, what the engine cannot do with that model. Only
  // models by name: no path of a client is ever opened. Files to start from are the service's own;
  // they are looked at. `as_long_as_input`: frames are those of the input video.
  JobRequest check(const JobRequest& request, bool as_long_as_input = false);
  // [{"id","object":"model","created","owned_by", ...}]
  nlohmann::json list() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace seamwright::cli
