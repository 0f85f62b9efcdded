#include "worker/given_frames.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <functional>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/sha256.h"
#include "media/fit.h"
#include "media/pixels.h"
#include "media/video_reader.h"
#include "worker/earlier_job.h"
#include "worker/frame_math.h"
#include "worker/job.h"

namespace seamwright::worker {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// The file while rank 0 fills it; gone with the object, whoever has it open keeps reading it.
class LatentFile {
 public:
  // `written` is called after each frame.
  LatentFile(const fs::path& folder, const std::function<void()>& written) : written_(written) {
    std::string pattern = (folder / ".seamwright-given-XXXXXX").string();
    fd_ = ::mkstemp(pattern.data());
    if (fd_ < 0) {
      fail(ErrorCode::kIo, "cannot create a file for given frames in {}: {}", folder.string(),
           errno_text(errno));
    }
    path_ = pattern;
  }
  ~LatentFile() {
    ::close(fd_);
    ::unlink(path_.c_str());
  }
  LatentFile(const LatentFile&) = delete;
  LatentFile& operator=(const LatentFile&) = delete;

  void write(std::int64_t frame, std::span<const float> latent) {
    const auto bytes = std::as_bytes(latent);
    auto at = static_cast<off_t>(frame) * static_cast<off_t>(bytes.size());
    std::size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t n = ::pwrite(fd_, bytes.data() + done, bytes.size() - done, at);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        fail(errno == ENOSPC ? ErrorCode::kResource : ErrorCode::kIo, "cannot write {}: {}",
             path_.string(), errno_text(errno));
      }
      done += static_cast<std::size_t>(n);
      at += n;
    }
    hash_.update(fmt::format("{}:", frame));
    hash_.update(bytes);
    if (written_) written_();
  }
  const fs::path& path() const { return path_; }
  std::string hash() { return to_hex(hash_.finish()); }

 private:
  int fd_ = -1;
  fs::path path_;
  Sha256 hash_;
  const std::function<void()>& written_;
};

// Pictures of the job's size, through the codec, into the file.
class Encoder {
 public:
  Encoder(const Job& job, const model::FrameCodec& codec, model::Exec exec, LatentFile& file)
      : job_(job), codec_(codec), exec_(exec), file_(file) {}

  void add(std::int64_t frame, const media::RgbImage& picture) {
    const auto fitted = media::fit(picture.view(), job_.request.width, job_.request.height);
    std::vector<float> pixels(fitted.pixels.size());
    media::from_rgb8(fitted.pixels, pixels);
    // One frame at a time: how many are encoded together can then change no bit.
    const auto input = model::ops::upload(
        exec_,
        {pixels.data(), model::DType::kF32, {1, job_.request.height, job_.request.width, 3}});
    const auto encoded = codec_.encode(exec_, input);
    model::Tensor host(model::heap(), model::DType::kF32, encoded.shape());
    exec_.backend.download(encoded, host);
    const auto n = job_.latent.size();
    ensure(static_cast<std::size_t>(host.view().elements()) == n,
           "the codec gave {} values, not {}", host.view().elements(), n);
    latent_.resize(n);
    rows_to_planes({host.view().as<float>(), n}, static_cast<int>(job_.latent.channels), latent_);
    file_.write(frame, latent_);
  }

 private:
  const Job& job_;
  const model::FrameCodec& codec_;
  model::Exec exec_;
  LatentFile& file_;
  std::vector<float> latent_;
};

// Which frames of the input video are taken.
media::ReaderOptions input_choice(const JobRequest& r) {
  media::ReaderOptions options;
  options.fps = r.input_fps;
  options.skip = r.input_skip;
  options.step = r.input_step;
  return options;
}

media::VideoReader open_reader(const std::string& given, const JobRequest& r,
                               media::ReaderOptions options = {}) {
  const auto file = video_of_input(given);
  const auto info = media::probe_video(file);
  // Decoded at the size from which the middle is cut: never larger than needed.
  const auto size = media::cover_size(info.width, info.height, r.width, r.height);
  options.width = size.width;
  options.height = size.height;
  return media::VideoReader(file, options);
}

void encode_picture(Encoder& encoder, std::int64_t frame, const std::string& file,
                    const JobRequest& r) {
  auto reader = open_reader(file, r);
  media::RgbImage picture;
  require(reader.next(picture), "{} holds no picture", file);
  encoder.add(frame, picture);
}

// Frames of the result that the input's frames are, in its order. `next` gives the input's next
// frame to the frame of the result it is told, or to none (a negative one); false at its end.
void take_input(const JobRequest& r, const std::vector<bool>& known,
                const std::function<bool(std::int64_t)>& next) {
  const bool all = is_video_to_video(r);
  const auto wanted = [&](std::int64_t frame) {
    return all || known[static_cast<std::size_t>(frame)];
  };
  std::int64_t frame = 0, read = 0;
  for (; frame < r.frames && next(wanted(frame) ? frame : -1); frame += r.input_every) ++read;
  for (; frame < r.frames; frame += r.input_every) {
    require(!wanted(frame),
            "{} has {} frames, but frame {} of the result is to come from it: give fewer --frames",
            r.input_video, read, frame);
  }
}

void encode_input(Encoder& encoder, const JobRequest& r, const std::vector<bool>& known) {
  auto reader = open_reader(r.input_video, r, input_choice(r));
  media::RgbImage picture;
  take_input(r, known, [&](std::int64_t frame) {
    if (!reader.next(picture)) return false;
    if (frame >= 0) encoder.add(frame, picture);
    return true;
  });
}

void copy_input(LatentFile& file, const JobRequest& r, const std::vector<bool>& known,
                const KeptLatents& latents) {
  std::int64_t at = r.input_skip;
  take_input(r, known, [&](std::int64_t frame) {
    if (at >= latents.frames()) return false;
    if (frame >= 0) file.write(frame, latents.frame(at));
    at += r.input_step;
    return true;
  });
}

void check_hand_over(const JobRequest& r, std::int64_t there, std::int64_t count) {
  require(there >= count,
          "{} has {} frames, but {} are handed over (the overlap): give a smaller --overlap",
          r.extend, there, count);
}

void encode_extension(Encoder& encoder, const JobRequest& r, std::int64_t count) {
  auto reader = open_reader(r.extend, r);
  std::deque<media::RgbImage> last;
  media::RgbImage picture;
  while (reader.next(picture)) {
    last.push_back(std::move(picture));
    picture = {};
    if (std::cmp_greater(last.size(), count)) last.pop_front();
  }
  check_hand_over(r, std::ssize(last), count);
  for (std::int64_t frame = 0; frame < count; ++frame) {
    encoder.add(frame, last[static_cast<std::size_t>(frame)]);
  }
}

void copy_extension(LatentFile& file, const JobRequest& r, std::int64_t count,
                    const KeptLatents& latents) {
  check_hand_over(r, latents.frames(), count);
  for (std::int64_t frame = 0; frame < count; ++frame) {
    file.write(frame, latents.frame(latents.frames() - count + frame));
  }
}

void encode_all(const Job& job, const model::VideoModel& model, model::Exec exec,
                const std::vector<bool>& known, LatentFile& file) {
  const auto& r = job.request;
  Encoder encoder(job, model.codec(), exec, file);
  const auto kept = [&](const std::string& input) {
    return kept_latents(input, r, model.hash(), job.latent.size());
  };
  if (!r.init_image.empty()) encode_picture(encoder, 0, r.init_image, r);
  for (const auto& keyframe : r.keyframes)
    encode_picture(encoder, keyframe.frame, keyframe.file, r);
  if (!r.input_video.empty()) {
    if (const auto latents = kept(r.input_video)) {
      copy_input(file, r, known, *latents);
    } else {
      encode_input(encoder, r, known);
    }
  }
  if (!r.extend.empty()) {
    const auto count = std::count(known.begin(), known.end(), true);
    if (const auto latents = kept(r.extend)) {
      copy_extension(file, r, count, *latents);
    } else {
      encode_extension(encoder, r, count);
    }
  }
}

}  // namespace

GivenFrames::GivenFrames(const fs::path& file, std::size_t frame_size, std::vector<bool> known,
                         bool noised, std::string hash)
    : fd_(::open(file.c_str(), O_RDONLY | O_CLOEXEC)),
      frame_size_(frame_size),
      known_(std::move(known)),
      noised_(noised),
      hash_(std::move(hash)) {
  if (fd_ < 0) {
    fail(ErrorCode::kIo,
         "cannot open the given frames in {}: {} (hosts of a gang must share the output's folder)",
         file.string(), errno_text(errno));
  }
}

GivenFrames::~GivenFrames() {
  if (fd_ >= 0) ::close(fd_);
}

void GivenFrames::read(std::int64_t frame, std::span<float> latent) const {
  ensure(latent.size() == frame_size_, "a given frame has {} values, not {}", frame_size_,
         latent.size());
  auto bytes = std::as_writable_bytes(latent);
  auto at = static_cast<off_t>(frame) * static_cast<off_t>(bytes.size());
  while (!bytes.empty()) {
    const ssize_t n = ::pread(fd_, bytes.data(), bytes.size(), at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      fail(ErrorCode::kIo, "given frame {} cannot be read: {}", frame,
           n < 0 ? errno_text(errno) : std::string("the file ends before it"));
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    at += n;
  }
}

std::vector<bool> known_frames(const JobRequest& r) {
  std::vector<bool> known(static_cast<std::size_t>(r.frames), false);
  if (!has_known_frames(r)) return known;
  if (!r.init_image.empty()) known[0] = true;
  for (const auto& keyframe : r.keyframes) known[static_cast<std::size_t>(keyframe.frame)] = true;
  if (!r.input_video.empty()) {
    for (std::int64_t f = 0; f < r.frames; f += r.input_every) {
      known[static_cast<std::size_t>(f)] = true;
    }
    for (const auto& range : parse_frame_ranges(r.missing)) {
      for (auto f = range.first; f <= range.last; ++f) known[static_cast<std::size_t>(f)] = false;
    }
  }
  if (!r.extend.empty()) {
    const auto count = std::max<std::int64_t>(1, r.overlap);
    require(count < r.frames,
            "the overlap of {} frames that extend hands over leaves nothing of "
            "{} frames to make",
            count, r.frames);
    std::fill_n(known.begin(), count, true);
  }
  return known;
}

void check_given_files(const JobRequest& r) {
  if (!r.init_image.empty()) media::probe_video(r.init_image);
  for (const auto& keyframe : r.keyframes) media::probe_video(keyframe.file);
  if (!r.extend.empty()) info_of_input(r.extend);
  if (r.input_video.empty()) return;
  const auto info = info_of_input(r.input_video);
  const auto needed = (r.frames - 1) / r.input_every + 1;
  const auto there = media::chosen_frames(info, input_choice(r));
  require(info.frames == 0 || r.input_fps > 0 || there >= needed || !r.missing.empty(),
          "{} has {} frames{}, but {} are needed for {} frames of result: give fewer --frames",
          r.input_video, there, there == info.frames ? "" : " after input_skip and input_step",
          needed, r.frames);
}

std::int64_t frames_of_input(const JobRequest& r) {
  if (r.input_video.empty()) return 0;
  const auto info = info_of_input(r.input_video);
  const auto there = media::chosen_frames(info, input_choice(r));
  require(info.frames > 0, "{} does not say how many frames it has: give --frames", r.input_video);
  require(there > 0, "input_skip leaves none of the {} frames of {}", info.frames, r.input_video);
  return (there - 1) * r.input_every + 1;
}

std::shared_ptr<const GivenFrames> share_given_frames(const Job& job,
                                                      const model::VideoModel& model,
                                                      model::Exec exec, const fs::path& folder,
                                                      comm::Fabric* fabric,
                                                      const std::function<void()>& encoded) {
  const bool noised = is_video_to_video(job.request);
  if (!noised && !has_known_frames(job.request)) return nullptr;
  auto known = known_frames(job.request);
  const auto open = [&](const fs::path& path, const std::string& hash) {
    return std::make_shared<const GivenFrames>(path, job.latent.size(), std::move(known), noised,
                                               hash);
  };
  if (fabric != nullptr && fabric->rank() != 0) {
    comm::Bytes bytes;
    fabric->broadcast(0, bytes);
    const auto* begin = reinterpret_cast<const char*>(bytes.data());
    const auto message = Json::parse(begin, begin + bytes.size());
    if (message.contains("stopped")) {
      fail(ErrorCode::kCancelled, "{}", message.at("stopped").get<std::string>());
    }
    auto given = open(message.at("path").get<std::string>(), message.at("hash").get<std::string>());
    fabric->all_gather({});
    return given;
  }
  LatentFile file(folder, encoded);
  const auto tell = [fabric](const Json& message) {
    const auto text = message.dump();
    const auto raw = std::as_bytes(std::span(text.data(), text.size()));
    comm::Bytes bytes(raw.begin(), raw.end());
    fabric->broadcast(0, bytes);
  };
  try {
    encode_all(job, model, exec, known, file);
  } catch (const Error& error) {
    if (fabric != nullptr && error.code() == ErrorCode::kCancelled) {
      tell({{"stopped", error.what()}});
    }
    throw;
  }
  const auto hash = file.hash();
  auto given = open(file.path(), hash);
  if (fabric == nullptr) return given;
  tell({{"path", file.path().string()}, {"hash", hash}});
  fabric->all_gather({});  // everyone has it open: the file's name can go
  return given;
}

}  // namespace seamwright::worker
