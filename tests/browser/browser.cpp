#include "tests/browser/browser.h"

#include <fmt/core.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "media/child_process.h"
#include "media/files.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using Json = nlohmann::json;
using std::chrono::milliseconds;

std::string base64_decoded(const std::string& text) {
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (const char c : text) {
    const auto digit = kDigits.find(c);
    if (digit == std::string_view::npos) continue;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes.push_back(static_cast<char>(bits >> count & 0xFF));
    }
  }
  return bytes;
}

}  // namespace

std::optional<std::string> find_chromium() {
  for (const char* name : {"chromium", "chromium-browser", "google-chrome"}) {
    media::ChildSpec spec;
    spec.argv = {"sh", "-c", fmt::format("command -v {}", name)};
    if (media::run_child(spec, milliseconds(10'000)).exit.ok()) return name;
  }
  return std::nullopt;
}

struct Browser::State {
  media::TemporaryFolder folder;
  std::unique_ptr<media::ChildProcess> child;
  asio::io_context io;
  std::unique_ptr<beast::websocket::stream<asio::ip::tcp::socket>> socket;
  int last_id = 0;
  std::vector<std::string> complaints;

  std::string port() {
    const auto file = folder / "DevToolsActivePort";
    for (int i = 0; i < 1200; ++i) {  // the first start on a machine reads 300 MB from disk
      std::ifstream in(file);
      std::string line;
      if (std::getline(in, line) && !line.empty()) return line;
      std::this_thread::sleep_for(milliseconds(100));
    }
    fail(ErrorCode::kUnavailable, "the browser did not start");
  }

  // The path of the first page's socket.
  std::string page(const std::string& port) {
    namespace bhttp = beast::http;
    for (int i = 0; i < 100; ++i) {
      asio::ip::tcp::socket plain(io);
      asio::connect(plain, asio::ip::tcp::resolver(io).resolve("127.0.0.1", port));
      bhttp::request<bhttp::empty_body> ask(bhttp::verb::get, "/json/list", 11);
      ask.set(bhttp::field::host, "127.0.0.1:" + port);
      bhttp::write(plain, ask);
      beast::flat_buffer buffer;
      bhttp::response<bhttp::string_body> answer;
      bhttp::read(plain, buffer, answer);
      for (const Json& target : Json::parse(answer.body())) {
        if (target.at("type") != "page") continue;
        const std::string url = target.at("webSocketDebuggerUrl");
        return url.substr(url.find("/devtools"));
      }
      std::this_thread::sleep_for(milliseconds(100));
    }
    fail(ErrorCode::kUnavailable, "the browser has no page");
  }

  Json call(const std::string& method, const Json& parameters = Json::object()) {
    const int id = ++last_id;
    socket->write(
        asio::buffer(Json{{"id", id}, {"method", method}, {"params", parameters}}.dump()));
    while (true) {
      beast::flat_buffer buffer;
      socket->read(buffer);
      const Json message = Json::parse(beast::buffers_to_string(buffer.data()));
      if (message.value("id", 0) == id) {
        ensure(message.contains("result"), "{}: {}", method, message.dump());
        return message.at("result");
      }
      listen(message);
    }
  }

  void listen(const Json& message) {
    const std::string method = message.value("method", "");
    if (method == "Runtime.exceptionThrown") complaints.push_back(message.at("params").dump());
    if (method == "Log.entryAdded" && message.at("params").at("entry").at("level") == "error") {
      complaints.push_back(message.at("params").at("entry").dump());
    }
  }
};

Browser::Browser(const std::string& program, int width, int height)
    : state_(std::make_unique<State>()) {
  media::ChildSpec spec;
  // Root may not sandbox; the page is our own. The browser's own chatter goes nowhere.
  spec.argv = {"sh", "-c",
               fmt::format("exec {} --headless=new --no-sandbox --disable-gpu --no-first-run "
                           "--disable-dev-shm-usage --disable-background-networking --mute-audio "
                           "--autoplay-policy=no-user-gesture-required "
                           "--remote-debugging-port=0 --user-data-dir={} --window-size={},{} "
                           "about:blank >/dev/null 2>&1",
                           program, state_->folder.path().string(), width, height)};
  state_->child = std::make_unique<media::ChildProcess>(spec);
  const std::string port = state_->port(), path = state_->page(port);
  asio::ip::tcp::socket socket(state_->io);
  asio::connect(socket, asio::ip::tcp::resolver(state_->io).resolve("127.0.0.1", port));
  state_->socket =
      std::make_unique<beast::websocket::stream<asio::ip::tcp::socket>>(std::move(socket));
  state_->socket->read_message_max(256 << 20);
  state_->socket->handshake("127.0.0.1:" + port, path);
  for (const char* domain : {"Page", "Runtime", "Log"}) {
    state_->call(fmt::format("{}.enable", domain));
  }
  resize(width, height, false);
}

Browser::~Browser() {
  try {
    state_->call("Browser.close");
    state_->child->wait_exit(milliseconds(5000));
  } catch (const std::exception&) {
    state_->child->kill_now();
  }
}

void Browser::open(const std::string& url) {
  state_->call("Page.navigate", {{"url", url}});
  wait_until("document.readyState === 'complete'", 20);
}

void Browser::resize(int width, int height, bool phone) {
  state_->call("Emulation.setDeviceMetricsOverride",
               {{"width", width}, {"height", height}, {"deviceScaleFactor", 1}, {"mobile", phone}});
}

Json Browser::value(const std::string& expression) {
  const Json result =
      state_->call("Runtime.evaluate",
                   {{"expression", expression}, {"awaitPromise", true}, {"returnByValue", true}});
  require(!result.contains("exceptionDetails"), "{}: {}", expression, result.dump());
  return result.at("result").value("value", Json());
}

bool Browser::wait_until(const std::string& expression, double seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < end) {
    if (value(fmt::format("Boolean({})", expression)) == true) return true;
    std::this_thread::sleep_for(milliseconds(100));
  }
  return false;
}

void Browser::press(const std::string& key) {
  for (const char* type : {"keyDown", "keyUp"}) {
    state_->call("Input.dispatchKeyEvent", {{"type", type},
                                            {"key", key},
                                            {"code", key},
                                            {"windowsVirtualKeyCode", key == "Tab" ? 9 : 13}});
  }
}

void Browser::screenshot(const std::string& name) {
  const char* folder = std::getenv("SEAMWRIGHT_SCREENSHOTS");
  if (folder == nullptr) return;
  const Json result =
      state_->call("Page.captureScreenshot", {{"format", "png"}, {"captureBeyondViewport", true}});
  media::write_file_atomically(std::filesystem::path(folder) / name,
                               base64_decoded(result.at("data")));
}

const std::vector<std::string>& Browser::complaints() const { return state_->complaints; }

}  // namespace seamwright
