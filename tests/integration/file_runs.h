// Runs of the program that tests of community files share.
// Threads: one per test.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "media/child_process.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright::testing_support {

inline const std::filesystem::path kFixtures = SEAMWRIGHT_FIXTURES;

inline media::ChildResult program(std::vector<std::string> arguments, int seconds = 300) {
  arguments.insert(arguments.begin(), SEAMWRIGHT_PROGRAM);
  media::ChildSpec spec;
  spec.argv = std::move(arguments);
  return media::run_child(spec, std::chrono::milliseconds(seconds * 1000));
}

inline std::string latents_hash(std::vector<std::string> model, const std::filesystem::path& report,
                                const std::vector<std::string>& size) {
  std::vector<std::string> request = {"generate",   "--prompt", "a red circle", "--threads",    "1",
                                      "--no-video", "--quiet",  "--report",     report.string()};
  request.insert(request.end(), model.begin(), model.end());
  request.insert(request.end(), size.begin(), size.end());
  const auto made = program(request, 3000);
  EXPECT_EQ(made.exit.code, 0) << made.errors;
  if (made.exit.code != 0) return "failed";
  return nlohmann::json::parse(std::ifstream(report)).at("latents_sha256");
}

// Random weights, written in both layouts, give one hash.
inline void both_layouts_agree(const std::string& shrink, const std::vector<std::string>& size) {
  media::TemporaryFolder folder;
  const auto write = [&](const char* names) {
    const auto to = (folder / names).string();
    const auto made = program(
        {"models", "write-random", to, "--names", names, "--motion", "v2", "--shrink", shrink},
        1200);
    EXPECT_EQ(made.exit.code, 0) << made.errors;
    return to;
  };
  const auto diffusers = write("diffusers"), original = write("original");
  const auto a = latents_hash({"--model", diffusers}, folder / "a.json", size);
  const auto b = latents_hash({"--model", original + "/sd15.safetensors", "--motion-adapter",
                               original + "/motion.safetensors"},
                              folder / "b.json", size);
  EXPECT_EQ(a, b);
}

}  // namespace seamwright::testing_support
