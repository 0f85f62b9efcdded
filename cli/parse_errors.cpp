#include "cli/parse_errors.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/quoted.h"

namespace seamwright::cli {
namespace {

template <class T>
std::errc read_all(std::string_view text, T& number) {
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end != text.data() + text.size()) return std::errc::invalid_argument;
  return error;
}

template <class T>
std::string refusal(const std::string& text, const char* kind) {
  T number{};
  const std::errc error = read_all(text, number);
  if (error == std::errc()) return {};
  if (error == std::errc::result_out_of_range) {
    return fmt::format("{} does not fit into a number of {} bits", text, 8 * sizeof(T));
  }
  return fmt::format("must be {}, not {}", kind, in_quotes(text));
}

void check_numbers(CLI::Option& option) {
  const std::string type = option.get_type_name();
  if (type.starts_with("UINT")) {
    option.check(
        [](const std::string& text) {
          return refusal<std::uint64_t>(text, "a whole number from 0 on");
        },
        "");
  } else if (type.starts_with("INT")) {
    option.check(
        [](const std::string& text) { return refusal<std::int64_t>(text, "a whole number"); }, "");
  } else if (type.starts_with("FLOAT")) {
    option.check([](const std::string& text) { return refusal<double>(text, "a number"); }, "");
  }
}

std::string in_words(const CLI::App*, const CLI::Error& error) {
  std::string text = error.what();
  // "--flag: At Most 1 required but received 2", as every flag takes one value or any number.
  if (const auto at = text.find(": At Most 1 required but received "); at != std::string::npos) {
    text = fmt::format("{} was given {} times; give it once", text.substr(0, at),
                       text.substr(text.rfind(' ') + 1));
  }
  return fmt::format("seamwright: {}\nRun with --help for more information.\n", text);
}

}  // namespace

void explain_parse_errors(CLI::App& app) {
  app.failure_message(in_words);
  for (CLI::Option* option : app.get_options()) check_numbers(*option);
  for (CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    explain_parse_errors(*verb);
  }
}

}  // namespace seamwright::cli
