// The dashboard in a real browser: submit, watch while it is made, timeline, cancel; on a service
// in memory whose segments this test makes.
#include "tests/browser/browser.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "media/segment_writer.h"
#include "tests/unit/coordinator/http/served.h"

namespace seamwright::coordinator::http {
namespace {

class Dashboard : public testing::Test {
 protected:
  void SetUp() override {
    const auto program = find_chromium();
    if (!program) GTEST_SKIP() << "no Chromium on this machine";
    served_ = std::make_unique<Served>();
    browser_ = std::make_unique<Browser>(*program, 1280, 900);
  }

  void add_segment(const std::string& id, int index) {
    media::VideoOptions options;
    options.width = 128;
    options.height = 96;
    options.fps = 8;
    media::SegmentWriter writer(served_->folder.path() / fmt::format("{}.mp4", index), options,
                                index * 16);
    for (int i = 0; i < 16; ++i) {
      const auto frame = media::numbered_frame(index * 16 + i, 128, 96);
      writer.write(frame.view());
    }
    served_->service.add_segment(id, writer.finish());
  }

  std::string submit_from_the_page() {
    browser_->open(served_->server.url() + "/");
    EXPECT_TRUE(browser_->wait_until("document.querySelector('#model option')", 60));
    browser_->value("document.querySelector('#form .primary').click()");
    EXPECT_TRUE(browser_->wait_until("location.hash.startsWith('#video=')", 60));
    return browser_->value("location.hash.slice(7)");
  }

  std::unique_ptr<Served> served_;
  std::unique_ptr<Browser> browser_;
};

TEST_F(Dashboard, PlaysAVideoThatIsStillBeingMade) {
  const std::string id = submit_from_the_page();
  EXPECT_TRUE(browser_->wait_until(
      "document.getElementById('detail-status').textContent.includes('no gang is free')", 60))
      << "why it waits is not said";
  served_->service.start(id);
  for (int i = 0; i < 4; ++i) add_segment(id, i);
  served_->service.emit(id, "progress", {{"progress", 42}, {"frames", 64}});
  EXPECT_TRUE(browser_->wait_until("document.getElementById('detail-progress').value === 42", 60));
  EXPECT_TRUE(browser_->wait_until("document.getElementById('player').currentTime > 1", 120));
  EXPECT_EQ(
      browser_->value("fetch('/v1/videos/" + id + "').then(r => r.json()).then(v => v.status)"),
      "in_progress");
  EXPECT_EQ(browser_->complaints(), std::vector<std::string>{});
}

TEST_F(Dashboard, CancelsAndSaysSo) {
  const std::string id = submit_from_the_page();
  served_->service.start(id);
  EXPECT_TRUE(browser_->wait_until("document.querySelector('#actions button')", 60));
  browser_->value("document.querySelector('#actions button').click()");
  EXPECT_TRUE(browser_->wait_until(
      "document.getElementById('detail-status').textContent.startsWith('cancelled')", 60));
  EXPECT_EQ(served_->service.get(id, "").state, JobState::kFailed);
}

TEST_F(Dashboard, ShowsARefusalBesideItsField) {
  browser_->open(served_->server.url() + "/");
  EXPECT_TRUE(browser_->wait_until("document.querySelector('#size')", 60));
  browser_->value("document.getElementById('size').value = '7x7'");
  browser_->value("document.querySelector('#form .primary').click()");
  EXPECT_TRUE(browser_->wait_until(
      "document.getElementById('size-error').textContent.includes('16 to 8192')", 60));
  EXPECT_TRUE(browser_->value("document.activeElement.id === 'size'"));
}

TEST_F(Dashboard, IsUsableFromTheKeyboardAndOnAPhone) {
  served_->submit();
  browser_->resize(390, 844, true);
  browser_->open(served_->server.url() + "/");
  EXPECT_TRUE(browser_->wait_until("document.querySelector('.job a')", 60));
  // Nothing sticks out to the side.
  EXPECT_EQ(browser_->value("document.documentElement.scrollWidth"), 390);
  browser_->press("Tab");
  EXPECT_EQ(browser_->value("document.activeElement.className"), "skip");
  // Every control has a name that a screen reader can say.
  EXPECT_EQ(browser_->value(
                "[...document.querySelectorAll('input, select, textarea, button')].filter(e => "
                "!(e.labels?.length || e.textContent.trim() || e.ariaLabel)).length"),
            0);
  browser_->value("document.querySelector('.job a').focus()");
  browser_->press("Enter");
  browser_->value("document.activeElement.click()");
  EXPECT_TRUE(browser_->wait_until("!document.getElementById('detail').hidden", 60));
  browser_->value("document.getElementById('tab-cloth').focus()");
  browser_->value(
      "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}))");
  EXPECT_EQ(browser_->value("document.activeElement.id"), "tab-ranks");
}

}  // namespace
}  // namespace seamwright::coordinator::http
