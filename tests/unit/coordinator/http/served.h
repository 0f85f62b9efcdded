// A server over a fake service, for tests.
// Threads: one thread.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "coordinator/http/server.h"
#include "tests/unit/coordinator/http/fake_service.h"
#include "tests/unit/coordinator/http/raw_client.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright::coordinator::http {

struct Served {
  explicit Served(ServerOptions options = {}) : server(service, std::move(options)) {}

  std::uint16_t port() const { return server.port(); }
  std::filesystem::path file(const std::string& name, const std::string& bytes) {
    const auto path = folder.path() / name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  std::string submit(const std::string& headers = "") {
    return ask_json(port(), "POST", "/v1/videos", {{"prompt", "a red circle"}}, headers)
        .json()
        .at("id");
  }

  media::TemporaryFolder folder;
  FakeService service;
  Server server;
};

}  // namespace seamwright::coordinator::http
