// A TCP proxy between a gang and its coordinator whose link a test can cut or silence.
// Threads: one of its own moves the bytes; the rest is for one test thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <mutex>
#include <thread>

#include "media/file_descriptor.h"

namespace seamwright {

class LinkProxy {
 public:
  explicit LinkProxy(std::uint16_t target);  // on loopback
  ~LinkProxy();
  LinkProxy(const LinkProxy&) = delete;
  LinkProxy& operator=(const LinkProxy&) = delete;

  std::uint16_t port() const { return port_; }
  void cut();                         // ends every connection; new ones are taken
  void silence() { silent_ = true; }  // connections stand, but nothing gets through any more
  void heal() { silent_ = false; }
  int connections() const { return connections_; }  // so far

 private:
  struct Pair {
    media::FileDescriptor gang, service;
    bool ended = false;
  };
  void loop();
  void accept_one();
  static bool forward(const media::FileDescriptor& from, const media::FileDescriptor& to);

  std::uint16_t target_, port_ = 0;
  media::FileDescriptor listener_;
  std::list<Pair> pairs_;  // of the loop's thread
  std::atomic<bool> stop_{false}, silent_{false}, cut_{false};
  std::atomic<int> connections_{0};
  std::thread thread_;
};

}  // namespace seamwright
