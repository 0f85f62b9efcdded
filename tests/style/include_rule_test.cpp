// Reads every #include of the project and holds it against the layers of docs/architecture.md.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace seamwright {
namespace {

namespace fs = std::filesystem;
using Names = std::set<std::string>;

// folder -> the project folders it may include, besides itself
const std::map<std::string, Names>& allowed_folders() {
  static const Names kMiddle{"base", "model", "scheduling", "comm", "media"};
  static const std::map<std::string, Names> kAllowed{
      {"base", {}},
      {"model", {"base"}},
      {"scheduling", {"base"}},
      {"comm", {"base"}},
      {"media", {"base"}},
      {"worker", kMiddle},
      {"coordinator", {"base", "scheduling", "comm", "media"}},
      {"cli", {"base", "model", "scheduling", "comm", "media", "worker", "coordinator", "bench"}},
      {"bench", {"base", "model", "scheduling", "comm", "media", "worker", "coordinator"}},
  };
  return kAllowed;
}

// Headers of libraries that must not leak out of .cpp, .cu and private headers.
const std::regex& vendor_header() {
  static const std::regex kPattern(
      "^(cuda|cudnn|cublas|nccl|nvml|oneapi/|dnnl|mpi\\.h|sqlite3|png\\.h|zlib\\.h|pcre2|cblas|"
      "omp\\.h|openssl/|spdlog/|boost/|prometheus/|libav|libsw).*");
  return kPattern;
}

struct Include {
  fs::path file;  // relative to the project
  int line = 0;
  std::string target;
};

std::string top_folder(const fs::path& path) { return path.begin()->string(); }

// A violation in words, or "" if the include is allowed.
std::string violation(const Include& include) {
  const std::string from = top_folder(include.file);
  const std::string to = top_folder(include.target);
  const auto& rules = allowed_folders();
  if (rules.contains(from) && rules.contains(to) && from != to && !rules.at(from).contains(to)) {
    return from + " may not include " + to;
  }
  const bool header = include.file.extension() == ".h" || include.file.extension() == ".cuh";
  // A folder-private header says so in its name or lies in a backend's own folder.
  const std::string name = include.file.filename().string();
  const bool is_private = name.find("_private") != std::string::npos ||
                          std::distance(include.file.begin(), include.file.end()) > 2;
  if (header && !is_private && std::regex_match(include.target, vendor_header())) {
    return "a public header may not include " + include.target;
  }
  return "";
}

std::vector<Include> includes_of(const fs::path& root, const fs::path& relative) {
  static const std::regex kInclude("^\\s*#\\s*include\\s*[<\"]([^>\"]+)[>\"].*");
  std::vector<Include> found;
  std::ifstream file(root / relative);
  int line = 0;
  for (std::string text; std::getline(file, text);) {
    ++line;
    std::smatch match;
    if (std::regex_match(text, match, kInclude)) found.push_back({relative, line, match[1]});
  }
  return found;
}

std::vector<fs::path> sources_of(const fs::path& root, bool with_tests = false) {
  static const Names kExtensions{".h", ".cpp", ".cu", ".cuh"};
  std::vector<fs::path> found;
  Names folders;
  for (const auto& [folder, ignored] : allowed_folders()) folders.insert(folder);
  if (with_tests) folders.insert("tests");
  for (const auto& folder : folders) {
    if (!fs::exists(root / folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (kExtensions.contains(entry.path().extension().string())) {
        found.push_back(fs::relative(entry.path(), root));
      }
    }
  }
  return found;
}

TEST(IncludeRule, EveryIncludeStaysInsideItsLayer) {
  const fs::path root = SEAMWRIGHT_SOURCE_DIR;
  const auto sources = sources_of(root);
  ASSERT_GT(sources.size(), 20U) << "the sources were not found";
  for (const fs::path& source : sources) {
    for (const Include& include : includes_of(root, source)) {
      EXPECT_EQ(violation(include), "") << source.string() << ":" << include.line;
    }
  }
}

TEST(IncludeRule, SeesTheViolationsItIsFor) {
  EXPECT_NE(violation({"model/a.cpp", 1, "comm/b.h"}), "");
  EXPECT_NE(violation({"scheduling/a.cpp", 1, "media/b.h"}), "");
  EXPECT_NE(violation({"base/a.h", 1, "model/b.h"}), "");
  EXPECT_NE(violation({"worker/a.cpp", 1, "coordinator/b.h"}), "");
  EXPECT_NE(violation({"coordinator/a.cpp", 1, "model/b.h"}), "");
  EXPECT_NE(violation({"comm/a.h", 1, "mpi.h"}), "");
  EXPECT_NE(violation({"model/a.h", 1, "dnnl.hpp"}), "");
  EXPECT_NE(violation({"model/a.h", 1, "cuda_runtime.h"}), "");
  EXPECT_EQ(violation({"model/a.cpp", 1, "dnnl.hpp"}), "");
  EXPECT_EQ(violation({"model/cuda/a.h", 1, "cuda_runtime.h"}), "");
  EXPECT_EQ(violation({"worker/a.cpp", 1, "model/b.h"}), "");
  EXPECT_EQ(violation({"cli/a.cpp", 1, "worker/b.h"}), "");
}

// Signs of disorder that no compiler names: a file that does too much, and lines that nobody sees
// the end of. `clang-format` keeps the second.
TEST(FileSizes, FilesAreShortAndLinesFitTheScreen) {
  const fs::path root = SEAMWRIGHT_SOURCE_DIR;
  for (const fs::path& source : sources_of(root, true)) {
    std::ifstream file(root / source);
    int lines = 0;
    for (std::string text; std::getline(file, text);) {
      ++lines;
      const auto continues = [](char c) { return (c & 0xC0) == 0x80; };  // a byte inside UTF-8
      const auto width =
          static_cast<std::ptrdiff_t>(text.size()) - std::ranges::count_if(text, continues);
      EXPECT_LE(width, 100) << source << ":" << lines << ": run clang-format -i on it";
    }
    EXPECT_LE(lines, 420) << source << " must be split";
  }
}

}  // namespace
}  // namespace seamwright
