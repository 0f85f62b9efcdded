// The dashboard in a real browser: submit, watch while it is made, timeline, cancel; on a service
// in memory whose segments this test makes.
#include "tests/browser/browser.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "media/segment_writer.h"
#include "tests/unit/coordinator/http/served.h"

namespace seamwright::coordinator::http {
namespace {

// Puts a file of the page's own into the field, as a visitor's choice would.
void choose_file(Browser& browser, const std::string& made, const std::string& name,
                 const std::string& type) {
  browser.value("(async () => { const bytes = " + made +
                "; const all = new DataTransfer(); "
                "all.items.add(new File([bytes], '" +
                name + "', {type: '" + type +
                "'})); "
                "const field = document.getElementById('given'); field.files = all.files; "
                "field.dispatchEvent(new Event('change')); })()");
}

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

  // What the service got of a page on which a clip was chosen.
  JobRequest submit_with_clip(bool anew) {
    const std::string clip = "Uint8Array.from(atob('AAAAGGZ0eXBpc29t'), c => c.charCodeAt(0))";
    browser_->open(served_->server.url() + "/");
    EXPECT_TRUE(browser_->wait_until("document.querySelector('#size')", 60));
    browser_->value("document.querySelector('#start-from summary').click()");
    choose_file(*browser_, clip, "clip.mp4", "video/mp4");
    EXPECT_TRUE(browser_->wait_until("!document.getElementById('given-use').hidden", 60));
    EXPECT_EQ(browser_->value("document.getElementById('strength-field').hidden"), true);
    if (anew) {
      browser_->value("document.querySelector('[name=given-use][value=input_video]').click()");
      EXPECT_EQ(browser_->value("document.getElementById('strength-field').hidden"), false);
      browser_->screenshot("given-video.png");
    }
    browser_->value("document.querySelector('#form .primary').click()");
    EXPECT_TRUE(browser_->wait_until("location.hash.startsWith('#video=')", 60));
    return served_->service.get(browser_->value("location.hash.slice(7)"), "").submission.request;
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

constexpr const char* kPicture =
    "await new Promise(done => { const c = document.createElement('canvas'); c.width = 64; "
    "c.height = 48; const x = c.getContext('2d'); x.fillStyle = '#2c7a64'; x.fillRect(0, 0, 64, "
    "48); x.fillStyle = '#f2a33a'; x.arc(32, 24, 14, 0, 7); x.fill(); c.toBlob(done); })";

TEST_F(Dashboard, StartsFromAPicture) {
  browser_->open(served_->server.url() + "/");
  ASSERT_TRUE(browser_->wait_until("document.querySelector('#size')", 60));
  browser_->value("document.querySelector('#start-from summary').click()");
  choose_file(*browser_, kPicture, "lake at night.png", "image/png");
  EXPECT_TRUE(
      browser_->wait_until("document.getElementById('given-still').naturalWidth === 64", 60));
  EXPECT_EQ(browser_->value("document.getElementById('given-use').hidden"), true);
  browser_->screenshot("given-picture.png");
  browser_->value("document.querySelector('#form .primary').click()");
  ASSERT_TRUE(browser_->wait_until("location.hash.startsWith('#video=')", 60));
  const auto job = served_->service.get(browser_->value("location.hash.slice(7)"), "");
  ASSERT_EQ(job.submission.files.size(), 1U);
  EXPECT_EQ(job.submission.request.init_image, job.submission.files[0].name);
  EXPECT_EQ(job.submission.request.frames, 144) << "the other fields go along";
  EXPECT_EQ(browser_->complaints(), std::vector<std::string>{});
}

TEST_F(Dashboard, ContinuesAVideo) {
  const auto request = submit_with_clip(false);
  EXPECT_FALSE(request.extend.empty());
  EXPECT_TRUE(request.input_video.empty());
  EXPECT_EQ(request.frames, 144);
}

TEST_F(Dashboard, MakesAVideoAnew) {
  const auto request = submit_with_clip(true);
  EXPECT_TRUE(request.extend.empty());
  EXPECT_FALSE(request.input_video.empty());
  EXPECT_EQ(request.strength, 0.6);
}

TEST_F(Dashboard, SaysWhatIsWrongWithAFile) {
  browser_->open(served_->server.url() + "/");
  ASSERT_TRUE(browser_->wait_until("document.querySelector('#size')", 60));
  browser_->value("document.querySelector('#start-from summary').click()");
  const std::string error = "document.getElementById('given-error').textContent";
  choose_file(*browser_, "'text'", "a.txt", "text/plain");
  EXPECT_TRUE(browser_->wait_until(error + ".includes('neither a picture')", 60));
  choose_file(*browser_, "new Uint8Array(20e6)", "big.png", "image/png");
  EXPECT_TRUE(browser_->wait_until(error + ".includes('at most')", 60));
  // What only the service finds is shown at the same place, and the field gets the focus.
  choose_file(*browser_, "'no picture at all'", "p.png", "image/png");
  EXPECT_EQ(browser_->value(error), "");
  browser_->value("document.querySelector('#form .primary').click()");
  EXPECT_TRUE(browser_->wait_until(error + ".includes('be a picture')", 60));
  EXPECT_EQ(browser_->value("document.activeElement.id"), "given");
  browser_->value("document.getElementById('given-clear').click()");
  EXPECT_EQ(browser_->value(error), "");
  EXPECT_EQ(browser_->value("document.getElementById('given-chosen').hidden"), true);
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
  browser_->value("document.querySelectorAll('#form details').forEach(d => { d.open = true; })");
  choose_file(*browser_, kPicture, std::string(90, 'x') + ".png", "image/png");
  EXPECT_TRUE(browser_->wait_until("!document.getElementById('given-chosen').hidden", 60));
  EXPECT_EQ(browser_->value("document.documentElement.scrollWidth"), 390);
  browser_->screenshot("given-phone.png");
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
