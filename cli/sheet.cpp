// `seamwright sheet`: one picture of many frames of a video, or of some frames in a row.
#include <fmt/core.h>

#include <memory>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"
#include "media/contact_sheet.h"
#include "media/video_reader.h"

namespace seamwright::cli {
namespace {

struct SheetFlags {
  std::string video, out;
  media::ContactSheetOptions grid;
  std::int64_t strip_from = -1;
  int strip_count = 8;
};

// The container's frame count, or a count by decoding where it does not say.
std::int64_t count_frames(const std::string& video) {
  const std::int64_t claimed = media::probe_video(video).frames;
  if (claimed > 0) return claimed;
  media::VideoReader reader(video);
  media::RgbImage frame;
  while (reader.next(frame)) {
  }
  return reader.frames_read();
}

media::RgbImage draw_grid(const SheetFlags& flags) {
  media::ContactSheet sheet(count_frames(flags.video), flags.grid);
  media::VideoReader reader(flags.video);
  media::RgbImage frame;
  while (reader.next(frame)) sheet.offer(reader.frames_read() - 1, frame.view());
  return sheet.draw();
}

media::RgbImage draw_strip(const SheetFlags& flags) {
  media::VideoReader reader(flags.video);
  std::vector<media::RgbImage> kept;
  media::RgbImage frame;
  while (static_cast<int>(kept.size()) < flags.strip_count && reader.next(frame)) {
    if (reader.frames_read() > flags.strip_from) kept.push_back(frame);
  }
  require(!kept.empty(), "{} has {} frames; a strip cannot start at frame {}", flags.video,
          reader.frames_read(), flags.strip_from);
  return media::make_strip(kept, flags.strip_from, flags.grid.cell_width);
}

}  // namespace

void add_sheet(CLI::App& app, Command& command) {
  auto* verb = app.add_subcommand("sheet", "draw a contact sheet of a video as a PNG");
  const auto flags = std::make_shared<SheetFlags>();
  verb->add_option("video", flags->video, "the video")->required();
  verb->add_option("-o,--out", flags->out, "the PNG to write; default VIDEO.png");
  verb->add_option("--columns", flags->grid.columns, "frames in a row")
      ->capture_default_str()
      ->check(CLI::Range(1, 100));
  verb->add_option("--rows", flags->grid.rows, "rows")
      ->capture_default_str()
      ->check(CLI::Range(1, 100));
  verb->add_option("--cell-width", flags->grid.cell_width, "pixels a frame is wide")
      ->capture_default_str()
      ->check(CLI::Range(8, 4096));
  verb->add_option("--strip", flags->strip_from,
                   "instead of a grid: consecutive frames in a row, from this frame on")
      ->check(CLI::NonNegativeNumber);
  verb->add_option("--count", flags->strip_count, "how many frames a strip has")
      ->capture_default_str()
      ->check(CLI::Range(1, 100));
  verb->callback([flags, &command] {
    command.run = [flags] {
      const std::string out = flags->out.empty() ? flags->video + ".png" : flags->out;
      const media::RgbImage picture =
          flags->strip_from >= 0 ? draw_strip(*flags) : draw_grid(*flags);
      media::write_png(out, picture.view());
      fmt::print("{}\n", out);
      return 0;
    };
  });
}

}  // namespace seamwright::cli
