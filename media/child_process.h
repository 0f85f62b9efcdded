// One child program with pipes to it: encoders and decoders run outside, so that their crashes,
// licences and hostile inputs stay outside too. No shell is involved.
// Threads: one object is used by one thread at a time; objects are independent of each other.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "media/file_descriptor.h"

namespace seamwright::media {

struct ChildLimits {
  std::int64_t memory_bytes = 0;  // address space; 0 = unlimited
  std::int64_t cpu_seconds = 0;   // 0 = unlimited
};

struct ChildSpec {
  std::vector<std::string> argv;  // argv[0] is looked up on PATH
  bool pipe_input = false;        // else the child's standard input is empty
  bool pipe_output = false;       // else the child's standard output is dropped
  std::string extra_input;        // if not empty, the child reads this from descriptor 3
  ChildLimits limits;
  // If given: once true, what blocks kills the child and throws kCancelled. Outlives the object.
  const std::atomic<bool>* stop = nullptr;
};

struct ChildExit {
  int code = 0;
  int signal = 0;  // not 0: killed by this signal
  bool ok() const { return code == 0 && signal == 0; }
};

class ChildProcess {
 public:
  // Throws kNotFound when the program is not on PATH, kUnavailable when it cannot be started.
  explicit ChildProcess(const ChildSpec& spec);
  ~ChildProcess();  // kills what still runs, and reaps it
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Blocks until all is written. False when the child has closed its input (it is ending: ask
  // wait_exit why). Kills the child and throws kUnavailable when nothing moves for `stall_limit`.
  bool write_all(std::span<const std::byte> bytes, std::chrono::milliseconds stall_limit);

  // Blocks until something was read; 0 at the end of the output. Stalls as in write_all.
  std::size_t read_some(std::span<std::byte> into, std::chrono::milliseconds stall_limit);

  void close_input() { input_.reset(); }

  // Blocks until the child has ended; kills it and throws kUnavailable after `limit`. With a `sign`
  // of what it does, such as file_sign of its output, that is the time for which the sign may stay
  // the same.
  ChildExit wait_exit(std::chrono::milliseconds limit,
                      const std::function<std::uint64_t()>& sign = {});

  void kill_now();

  // The end of what the child wrote on standard error (at most 8 KiB).
  const std::string& error_text() const { return error_text_; }
  const std::string& name() const { return name_; }

 private:
  void drain_errors();
  void stalled(std::chrono::milliseconds limit);
  void check_stop();
  bool reap(bool block);

  std::string name_;
  const std::atomic<bool>* stop_ = nullptr;
  FileDescriptor input_;
  FileDescriptor output_;
  FileDescriptor errors_;
  std::string error_text_;
  pid_t pid_ = -1;
  ChildExit exit_;
};

struct ChildResult {
  ChildExit exit;
  std::string output;
  std::string errors;
};

// Runs a program to its end and returns what it printed; throws kResource past `output_limit`.
ChildResult run_child(const ChildSpec& spec, std::chrono::milliseconds limit,
                      std::size_t output_limit = 4U << 20U);

}  // namespace seamwright::media
