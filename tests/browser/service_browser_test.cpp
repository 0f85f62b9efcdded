// The dashboard in a real browser on the real service with the demo model: submit, progress, the
// video playing while it is made, timeline, cancel.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <memory>

#include "base/error.h"
#include "media/child_process.h"
#include "tests/browser/browser.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright {
namespace {

using std::chrono::milliseconds;

// `seamwright serve` on a free port; killed at the end, and its gang with it.
class RealService {
 public:
  RealService() {
    media::ChildSpec spec;
    spec.argv = {SEAMWRIGHT_PROGRAM, "serve",      "--port",    "0",
                 "--data",           data_.path(), "--threads", "1"};
    spec.pipe_output = true;
    child_ = std::make_unique<media::ChildProcess>(spec);
    char byte = 0;
    while (child_->read_some(std::as_writable_bytes(std::span(&byte, 1)), milliseconds(60'000)) ==
               1 &&
           byte != '\n') {
      url_.push_back(byte);
    }
  }
  const std::string& url() const { return url_; }

 private:
  media::TemporaryFolder data_;
  std::unique_ptr<media::ChildProcess> child_;
  std::string url_;
};

TEST(DashboardOfTheRealService, PlaysAJobInTheMakingAndCancelsIt) {
  const auto program = find_chromium();
  if (!program) GTEST_SKIP() << "no Chromium on this machine";
  const RealService service;
  ASSERT_TRUE(service.url().starts_with("http://")) << service.url();
  Browser browser(*program, 1280, 900);
  browser.open(service.url() + "/");
  ASSERT_TRUE(browser.wait_until("document.getElementById('health').textContent === 'ready'", 60));
  ASSERT_TRUE(browser.wait_until("document.querySelector('#model option')", 20));
  EXPECT_EQ(browser.value("document.getElementById('model').value"), "demo/few_step");
  browser.value(
      "(s => { s.value = 120; s.dispatchEvent(new Event('input')); })(document.getElementById("
      "'seconds'))");
  EXPECT_EQ(browser.value("document.getElementById('seconds-text').value"), "2 min");
  browser.value("document.querySelector('#form .primary').click()");
  ASSERT_TRUE(browser.wait_until("location.hash.startsWith('#video=')", 20));
  EXPECT_TRUE(browser.wait_until("document.getElementById('detail-progress').value > 0", 120));
  EXPECT_TRUE(browser.wait_until("document.getElementById('player').currentTime > 1", 240));
  const std::string id = browser.value("location.hash.slice(7)");
  const std::string job = "fetch('/v1/videos/" + id + "').then(r => r.json())";
  EXPECT_EQ(browser.value(job + ".then(v => v.status)"), "in_progress");
  EXPECT_TRUE(
      browser.wait_until("parseInt(document.getElementById('cloth-text').textContent) > 0", 60));
  browser.screenshot("dashboard.png");
  browser.resize(390, 844, true);
  browser.screenshot("dashboard-phone.png");
  browser.resize(1280, 900, false);
  browser.value("document.getElementById('tab-ranks').click()");
  EXPECT_TRUE(browser.wait_until("document.querySelector('#ranks-table tbody tr')", 30));
  browser.value(
      "[...document.querySelectorAll('#actions button')].find(b => b.textContent === "
      "'Cancel').click()");
  EXPECT_TRUE(browser.wait_until(
      "document.getElementById('detail-status').textContent.startsWith('cancelled')", 120));
  EXPECT_EQ(browser.value(job + ".then(v => v.error.code)"), "cancelled");
}

}  // namespace
}  // namespace seamwright
