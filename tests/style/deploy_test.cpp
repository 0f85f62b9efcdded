// Scripts parse, and documents, scripts and examples name only verbs, flags and variables that the
// program knows, so that they cannot outlive a change of its surface.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "media/child_process.h"

namespace seamwright {
namespace {

namespace fs = std::filesystem;
using Names = std::set<std::string>;
using Words = std::vector<std::string>;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const fs::path kRoot = SEAMWRIGHT_SOURCE_DIR;

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

media::ChildResult run(Words argv) {
  media::ChildSpec spec;
  spec.argv = std::move(argv);
  return media::run_child(spec, std::chrono::minutes(2));
}

Names matches(const std::string& text, const std::string& pattern, std::size_t group = 0) {
  const std::regex expression(pattern);
  Names found;
  for (std::sregex_iterator at(text.begin(), text.end(), expression), end; at != end; ++at) {
    found.insert((*at)[group].str());
  }
  return found;
}

// What `seamwright VERB... --help` says; asked once.
struct Help {
  std::string text;
  Names verbs, flags, variables;
};

const Help& help_of(const Words& verbs) {
  static std::map<Words, Help> known;
  const auto [at, added] = known.try_emplace(verbs);
  Help& help = at->second;
  if (!added) return help;
  Words argv = {SEAMWRIGHT_PROGRAM};
  argv.insert(argv.end(), verbs.begin(), verbs.end());
  argv.emplace_back("--help");
  const auto said = run(argv);
  EXPECT_EQ(said.exit.code, 0) << said.errors;
  help.text = said.output;
  const auto list = help.text.find("\nSubcommands:\n");
  if (list != std::string::npos) {
    const auto end = help.text.find("\n\n", list + 2);
    help.verbs = matches(help.text.substr(list + 14, end - list - 14), "(?:^|\n)  ([a-z-]+)", 1);
  }
  // Only names at the beginning of an option's line: descriptions may speak of other verbs' flags.
  for (const auto& line : matches(help.text, "\n  -[^ ]*")) {
    help.flags.merge(matches(line, "--?[a-z][a-z-]*"));
  }
  help.variables = matches(help.text, "Env:(SEAMWRIGHT_[A-Z_]+)", 1);
  return help;
}

// Lines as a shell sees them: joined at a backslash, and inside ( ) of a bash array.
std::vector<std::string> logical_lines(const std::string& text) {
  std::vector<std::string> lines;
  std::stringstream stream(text);
  bool open = false;
  for (std::string line; std::getline(stream, line);) {
    const auto last = line.find_last_not_of(" \t");
    const bool goes_on = last != std::string::npos && line[last] == '\\';
    if (goes_on) line.resize(last);
    if (open) {
      lines.back() += " " + line;
    } else {
      lines.push_back(line);
    }
    const auto& whole = lines.back();
    const auto array = whole.find("=(");
    const bool in_array =
        array != std::string::npos &&
        std::count(whole.begin(), whole.end(), '(') > std::count(whole.begin(), whole.end(), ')');
    open = goes_on || in_array;
  }
  return lines;
}

bool names_the_program(std::string word) {
  word.erase(0, std::min(word.find_first_not_of("\"'`("), word.size()));
  static const std::regex kProgram(R"((.*/)?seamwright|.*\$\{?(program|PROGRAM)\}?)");
  while (!word.empty() && word.back() == '"') word.pop_back();
  return std::regex_match(word, kProgram);
}

// The rest of a command after the program's name: up to a separator, a comment, or the end of
// `code`.
Words command_words(std::stringstream& line) {
  Words words;
  static const Names kSeparators{"|", "||", "&&", "&", ";", "#", ">", "2>", ">>", "<"};
  for (std::string word; line >> word && !kSeparators.contains(word);) {
    const bool ends = word.find('`') != std::string::npos || word.back() == ';';
    word.erase(std::min(word.find('`'), word.size()));
    while (!word.empty() && std::string(";,.:)").find(word.back()) != std::string::npos) {
      word.pop_back();
    }
    words.push_back(word);
    if (ends) break;
  }
  return words;
}

// What is wrong with the commands of a text, a line each.
Words complaints(const std::string& text) {
  Words wrong;
  for (const auto& line : logical_lines(text)) {
    std::stringstream stream(line);
    for (std::string word; stream >> word;) {
      if (!names_the_program(word)) continue;
      const auto here = stream.tellg();
      const Words words = command_words(stream);
      stream.clear();
      stream.seekg(here);
      Words verbs;
      for (const auto& one : words) {
        const auto verb = one.substr(0, one.find('|'));  // documents write `bench unet|vae`
        if (!help_of(verbs).verbs.contains(verb)) break;
        verbs.push_back(verb);
      }
      if (verbs.empty()) continue;  // a sentence, not a command
      for (const auto& one : words) {
        const auto flag = one.substr(0, one.find('='));
        if (!std::regex_match(flag, std::regex("--?[a-z][a-z-]*"))) continue;
        if (!help_of(verbs).flags.contains(flag)) wrong.push_back(flag + " in: " + line);
      }
    }
  }
  return wrong;
}

std::vector<fs::path> files_below(const Words& places, const Names& extensions) {
  std::vector<fs::path> found;
  for (const auto& place : places) {
    if (fs::is_regular_file(kRoot / place)) {
      found.push_back(kRoot / place);
      continue;
    }
    for (const auto& entry : fs::recursive_directory_iterator(kRoot / place)) {
      if (entry.is_regular_file() && extensions.contains(entry.path().extension().string())) {
        found.push_back(entry.path());
      }
    }
  }
  return found;
}

TEST(Scripts, ParseAsShell) {
  const auto scripts =
      files_below({"quickstart.sh", "test.sh", "deploy", "tools", "tests"}, {".sh", ".sbatch"});
  ASSERT_GT(scripts.size(), 8U) << "the scripts were not found";
  for (const auto& script : scripts) {
    const auto parsed = run({"bash", "-n", script.string()});
    EXPECT_EQ(parsed.exit.code, 0) << script << ": " << parsed.errors;
  }
}

TEST(Documents, NameOnlyFlagsThatTheProgramKnows) {
  const auto files = files_below(
      {"README.md", "CONTRIBUTING.md", "quickstart.sh", "docs", "deploy", "models/demo/README.md"},
      {".md", ".sh", ".sbatch", ".service"});
  ASSERT_GT(files.size(), 20U) << "the documents were not found";
  for (const auto& file : files) {
    EXPECT_THAT(complaints(read(file)), IsEmpty()) << file;
  }
}

TEST(Documents, NameOnlyVariablesThatTheProgramReads) {
  Names known;
  for (const auto& verb : help_of({}).verbs) {
    for (const auto& name : help_of({verb}).variables) known.insert(name);
  }
  for (const auto& file :
       files_below({"base", "cli", "worker", "coordinator", "comm"}, {".cpp", ".h"})) {
    known.merge(matches(read(file), "\"(SEAMWRIGHT_[A-Z_]+)\"", 1));
  }
  ASSERT_TRUE(known.contains("SEAMWRIGHT_PROMPT") && known.contains("SEAMWRIGHT_MODELS"));
  // Of CMake, and what Kubernetes would set (docs/deploy/kubernetes.md).
  known.insert({"SEAMWRIGHT_TESTS", "SEAMWRIGHT_CUDA", "SEAMWRIGHT_FUZZ", "SEAMWRIGHT_SANITIZE"});
  for (const auto& file : files_below({"README.md", "docs", "deploy"},
                                      {".md", ".sh", ".sbatch", ".service", ".yaml"})) {
    for (const auto& name : matches(read(file), "SEAMWRIGHT_[A-Z_]*[A-Z]")) {
      EXPECT_TRUE(known.contains(name)) << name << " in " << file;
    }
  }
}

TEST(Documents, AreFoundOutWhenTheyNameWhatIsNotThere) {
  const auto one = [](const std::string& text) {
    const auto wrong = complaints(text);
    return wrong.size() == 1 ? wrong.front().substr(0, wrong.front().find(' '))
                             : std::to_string(wrong.size());
  };
  EXPECT_EQ(one("    build/seamwright generate --prompt x --frame 3"), "--frame");
  EXPECT_EQ(one("start `seamwright serve --prot 0`, then"), "--prot");
  EXPECT_EQ(one("seamwright serve \\\n  --data x \\\n  --nothing=3 && y --z"), "--nothing");
  EXPECT_EQ(one("\"$program\" worker --token x"), "--token");
  EXPECT_EQ(one("gang+=(\"$program\" worker --name \"$(hostname)\"\n  --what 3)"), "--what");
  EXPECT_EQ(one("ExecStart=/usr/local/bin/seamwright serve --date /x"), "--date");
  EXPECT_EQ(one("seamwright models inspect --frame 3"), "--frame");
  EXPECT_EQ(one("mpirun --oversubscribe seamwright worker --name x | grep --colour"), "0");
  EXPECT_EQ(one("seamwright generate -p x --out y  # seamwright --z"), "0");
}

TEST(Manifests, FitTogetherAndNameOnlyFlagsThatTheProgramKnows) {
  if (run({"python3", "-c", "import yaml"}).exit.code != 0) {
    GTEST_SKIP() << "python3 with yaml is not installed (apt-get install python3-yaml)";
  }
  const auto script = (kRoot / "tests/style/manifests.py").string();
  const auto checked =
      run({"python3", script, "--program", SEAMWRIGHT_PROGRAM, (kRoot / "deploy").string()});
  EXPECT_EQ(checked.exit.code, 0) << checked.output << checked.errors;
  const auto tried = run({"python3", script, "--program", SEAMWRIGHT_PROGRAM, "--self-test",
                          (kRoot / "deploy").string()});
  EXPECT_EQ(tried.exit.code, 0) << tried.output << tried.errors;
  EXPECT_THAT(tried.output, HasSubstr("found out"));
}

}  // namespace
}  // namespace seamwright
