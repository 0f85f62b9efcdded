// A headless Chromium with one page, driven over its DevTools protocol.
// Threads: one thread.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace seamwright {

// The browser's program, or none: the tests then skip.
std::optional<std::string> find_chromium();

class Browser {
 public:
  Browser(const std::string& program, int width, int height);
  ~Browser();

  void open(const std::string& url);
  void resize(int width, int height, bool phone);
  // The value of a JavaScript expression; promises are awaited. Throws what it throws.
  nlohmann::json value(const std::string& expression);
  // Waits until the expression is true. False after `seconds`.
  bool wait_until(const std::string& expression, double seconds);
  // As if typed: dispatches real key events.
  void press(const std::string& key);
  // The page as PNG: NAME in the folder that SEAMWRIGHT_SCREENSHOTS names, for people to look at
  // (docs/images has some); nothing where it names none.
  void screenshot(const std::string& name);
  // Errors the page has thrown or logged so far.
  const std::vector<std::string>& complaints() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace seamwright
