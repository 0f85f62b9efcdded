#include "model/text/tokenizer.h"

namespace seamwright::model {
namespace {

bool is_weight_character(char c) { return (c >= '0' && c <= '9') || c == '.' || c == ' '; }

// "(words:1.2)": a number between a colon and the closing bracket.
bool has_weight(std::string_view prompt) {
  for (std::size_t close = prompt.find(')'); close != std::string_view::npos;
       close = prompt.find(')', close + 1)) {
    std::size_t i = close;
    bool digit = false;
    while (i > 0 && is_weight_character(prompt[i - 1])) {
      --i;
      digit = digit || (prompt[i] >= '0' && prompt[i] <= '9');
    }
    if (digit && i > 0 && prompt[i - 1] == ':' &&
        prompt.substr(0, i - 1).rfind('(') != std::string_view::npos) {
      return true;
    }
  }
  return false;
}

// "((words))" or "[words]": brackets that raise or lower attention elsewhere.
bool has_emphasis(std::string_view prompt) {
  const auto doubled = prompt.find("((");
  if (doubled != std::string_view::npos && prompt.find("))", doubled) != std::string_view::npos) {
    return true;
  }
  const auto square = prompt.find('[');
  return square != std::string_view::npos && prompt.find(']', square) != std::string_view::npos;
}

}  // namespace

std::string prompt_weight_warning(std::string_view prompt) {
  if (!has_weight(prompt) && !has_emphasis(prompt)) return {};
  return "the prompt seems to use attention weights such as (word:1.2), ((word)) or [word]: they "
         "are "
         "not interpreted, the brackets and numbers are read as plain text";
}

}  // namespace seamwright::model
