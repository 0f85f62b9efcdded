#include "media/child_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <thread>

#include "base/error.h"
#include "tests/unit/media/temporary_folder.h"

namespace seamwright::media {
namespace {

using std::chrono::milliseconds;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST(ChildProcess, PassesInputOutputAndErrors) {
  ChildSpec spec;
  spec.argv = {"sh", "-c", "cat; cat <&3; echo sorry >&2; exit 7"};
  spec.pipe_input = true;
  spec.pipe_output = true;
  spec.extra_input = "and more";
  ChildProcess child(spec);
  EXPECT_TRUE(child.write_all(bytes_of("text "), milliseconds(5000)));
  child.close_input();
  std::string output;
  std::array<std::byte, 64> buffer{};
  while (const std::size_t n = child.read_some(buffer, milliseconds(5000))) {
    output.append(reinterpret_cast<const char*>(buffer.data()), n);
  }
  EXPECT_EQ(output, "text and more");
  EXPECT_EQ(child.wait_exit(milliseconds(5000)).code, 7);
  EXPECT_EQ(child.error_text(), "sorry\n");
}

TEST(ChildProcess, ReportsAMissingProgram) {
  ChildSpec spec;
  spec.argv = {"no-such-program"};
  EXPECT_EQ(code_of([&] { ChildProcess child(spec); }), ErrorCode::kNotFound);
}

TEST(ChildProcess, WritingToADeadChildIsNoSignal) {
  ChildSpec spec;
  spec.argv = {"true"};
  spec.pipe_input = true;
  ChildProcess child(spec);
  const std::string block(1U << 20U, 'x');
  bool open = true;
  for (int i = 0; i < 10 && open; ++i) open = child.write_all(bytes_of(block), milliseconds(5000));
  EXPECT_FALSE(open);
  EXPECT_TRUE(child.wait_exit(milliseconds(5000)).ok());
}

// Ctrl-C signals the terminal's foreground group: the child must not be in ours.
TEST(ChildProcess, LivesInItsOwnProcessGroup) {
  ChildSpec spec;
  spec.argv = {"sh", "-c", "cut -d' ' -f5 /proc/$$/stat"};
  const ChildResult result = run_child(spec, milliseconds(5000));
  EXPECT_GT(std::atoi(result.output.c_str()), 0);
  EXPECT_NE(std::atoi(result.output.c_str()), ::getpgrp());
}

TEST(ChildProcess, InheritsNoOtherDescriptors) {
  const FileDescriptor null(::open("/dev/null", O_RDONLY));
  const FileDescriptor leak(::fcntl(null.get(), F_DUPFD, 100));  // without close-on-exec
  ChildSpec spec;
  spec.argv = {"sh", "-c", "test ! -e /proc/$$/fd/" + std::to_string(leak.get())};
  EXPECT_TRUE(run_child(spec, milliseconds(5000)).exit.ok());
}

TEST(ChildProcess, KillsWhatDoesNotEnd) {
  ChildSpec spec;
  spec.argv = {"sleep", "100"};
  ChildProcess child(spec);
  EXPECT_EQ(code_of([&] { child.wait_exit(milliseconds(100)); }), ErrorCode::kUnavailable);
}

TEST(ChildProcess, EndsWhenToldTo) {
  std::atomic<bool> stop{false};
  ChildSpec spec;
  spec.argv = {"sleep", "600"};
  spec.pipe_input = true;
  spec.stop = &stop;
  for (const bool writing : {true, false}) {
    stop = false;
    ChildProcess child(spec);
    std::thread later([&] {
      std::this_thread::sleep_for(milliseconds(50));
      stop = true;
    });
    const std::string much(4 << 20, 'x');
    try {
      if (writing) child.write_all(bytes_of(much), milliseconds(500'000));
      child.wait_exit(milliseconds(500'000));
      ADD_FAILURE() << "it ended by itself";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCancelled);
    }
    later.join();
  }
}

TEST(ChildProcess, KeepsTheEndOfALongErrorText) {
  ChildSpec spec;
  spec.argv = {"sh", "-c", "seq 1 100000 >&2"};
  const ChildResult result = run_child(spec, milliseconds(20000));
  EXPECT_LE(result.errors.size(), 8192U);
  EXPECT_NE(result.errors.find("\n100000\n"), std::string::npos);
}

TEST(ChildProcess, BoundsMemory) {
  ChildSpec spec;
  spec.argv = {"sh", "-c", "sleep 0.2; head -c 500000000 /dev/zero | sort >/dev/null"};
  spec.limits.memory_bytes = 100 << 20;
  EXPECT_FALSE(run_child(spec, milliseconds(20000)).errors.empty());
}

TEST(ChildProcess, RefusesEndlessOutput) {
  ChildSpec spec;
  spec.argv = {"yes"};
  EXPECT_EQ(code_of([&] { run_child(spec, milliseconds(20000), 1U << 20U); }),
            ErrorCode::kResource);
}

TEST(ChildProcess, MayTakeItsTimeToEndWhileSomethingChanges) {
  ChildSpec spec;
  spec.argv = {"sleep", "1"};
  std::uint64_t looks = 0;
  ChildProcess child(spec);
  EXPECT_TRUE(child.wait_exit(std::chrono::milliseconds(20), [&] { return ++looks; }).ok());
  EXPECT_GT(looks, 2U);
  ChildSpec hung;
  hung.argv = {"sleep", "600"};
  ChildProcess other(hung);
  EXPECT_EQ(code_of([&] {
              other.wait_exit(std::chrono::milliseconds(20), [] { return std::uint64_t{7}; });
            }),
            ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace seamwright::media
