#include "tests/unit/coordinator/fake_gang.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/sha256.h"
#include "media/files.h"
#include "media/segment_writer.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright::coordinator {
namespace {

comm::Bytes bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

Sha256Digest frame_digest(int frame) {
  Sha256 hash;
  hash.update("frame " + std::to_string(frame));
  return hash.finish();
}

constexpr int kWidth = 32, kHeight = 16;

std::string encode(int first, int end) {
  media::TemporaryFolder folder;
  media::VideoOptions options;
  options.width = kWidth;
  options.height = kHeight;
  media::SegmentWriter writer(folder / "s.mp4", options, first);
  for (int frame = first; frame < end; ++frame) {
    media::RgbImage image(kWidth, kHeight, static_cast<std::uint8_t>(frame * 5));
    writer.write(image.view());
  }
  return media::read_file(writer.finish(), 1 << 24);
}

}  // namespace

std::string fake_latents_sha256(int frames) {
  Sha256 all;
  for (int frame = 0; frame < frames; ++frame) {
    const auto digest = frame_digest(frame);
    all.update(std::as_bytes(std::span(digest)));
  }
  return to_hex(all.finish());
}

FakeGang::FakeGang(std::uint16_t port, const std::string& name, int instance, const Json& running) {
  comm::ControlOptions options;
  options.token = kTestToken;
  options.heartbeat_interval = std::chrono::milliseconds(100);
  Json about = {{"gang", name},       {"instance", fmt::format("{} {}", name, instance)},
                {"version", "test"},  {"fingerprint", "f"},
                {"models", {"demo"}}, {"layout", "1x1"},
                {"hosts", {"here"}},  {"pid", 1},
                {"running", running}};
  if (running.is_object()) {
    job = running.at("job");
    attempt = running.at("attempt");
  }
  comm::ControlClient::Handlers handlers;
  handlers.message = [this](comm::ControlMessage message) {
    const std::lock_guard lock(mutex_);
    inbox_.push_back(std::move(message));
    changed_.notify_all();
  };
  client_ =
      std::make_unique<comm::ControlClient>("127.0.0.1", port, options, about, std::move(handlers));
}

bool FakeGang::heard(const std::string& type, std::chrono::milliseconds within) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, within, [&] {
    return std::any_of(inbox_.begin(), inbox_.end(),
                       [&](const auto& message) { return message.type() == type; });
  });
}

comm::ControlMessage FakeGang::wait_for(const std::string& type) {
  if (!heard(type, std::chrono::seconds(10))) {
    ADD_FAILURE() << "no " << type << " came";
    return {};
  }
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(inbox_.begin(), inbox_.end(),
                                  [&](const auto& message) { return message.type() == type; });
  auto message = std::move(*found);
  inbox_.erase(found);
  return message;
}

void FakeGang::send(Json header, comm::Bytes payload) {
  client_->send({std::move(header), std::move(payload)});
}

FakeGang::Json FakeGang::header(const std::string& type) const {
  return {{"type", type}, {"job", job}, {"attempt", attempt}};
}

void FakeGang::take_attempt() {
  start = wait_for("attempt.start");
  job = start.header.value("job", "");
  attempt = start.header.value("attempt", 0);
}

void FakeGang::progress(std::int64_t evaluations, std::int64_t total) {
  auto h = header("attempt.progress");
  h["phase"] = "running";
  h["evaluations"] = evaluations;
  h["evaluations_total"] = total;
  h["share"] = static_cast<double>(evaluations) / static_cast<double>(total);
  send(std::move(h));
}

void FakeGang::identity(const std::string& what) {
  auto h = header("attempt.identity");
  h["parts"] = {{"numerics", what}};
  send(std::move(h));
  wait_for("attempt.identity_saved");
}

void FakeGang::record(int at, int level, const std::string& bytes) {
  auto h = header("attempt.record");
  h["at"] = at;
  h["level"] = level;
  send(std::move(h), bytes_of(bytes));
  wait_for("attempt.record_saved");
}

void FakeGang::segment(int first_frame, int end_frame, bool wait) {
  auto payload = bytes_of(encode(first_frame, end_frame));
  auto h = header("attempt.segment");
  h["first_frame"] = first_frame;
  h["end_frame"] = end_frame;
  h["media_bytes"] = payload.size();
  Json detail = {{"latents", Json::array()}, {"notes", Json::object()}};
  for (int frame = first_frame; frame < end_frame; ++frame) {
    detail["latents"].push_back(to_hex(frame_digest(frame)));
  }
  const auto text = bytes_of(detail.dump());
  payload.insert(payload.end(), text.begin(), text.end());
  send(std::move(h), std::move(payload));
  if (wait) wait_for("attempt.segment_saved");
}

void FakeGang::done() {
  send(header("attempt.done"), bytes_of(R"({"software":"test"})"));
  wait_for("attempt.closed");
}

void FakeGang::idle() { send(header("gang.idle")); }

void FakeGang::finish(int frames, int from) {
  for (int first = from; first < frames; first += media::kGroupFrames) {
    segment(first, std::min(frames, first + media::kGroupFrames));
  }
  done();
  idle();
}

}  // namespace seamwright::coordinator
