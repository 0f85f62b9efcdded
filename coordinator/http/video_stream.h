// A video as it grows: its closed segments one after another as one fragmented MP4 that players
// show from the first segment on.
// Threads: next() from one thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "coordinator/http/message.h"
#include "coordinator/job_service.h"

namespace seamwright::coordinator::http {

class VideoStream : public BodyStream {
 public:
  VideoStream(JobService& service, std::string job, std::string owner);

  void start(std::function<void()> wake) override;
  Piece next() override;
  std::chrono::milliseconds patience() const override { return std::chrono::milliseconds(500); }

 private:
  JobService& service_;
  std::string job_, owner_;
  std::size_t sent_ = 0;  // segments
  std::string pending_;   // of the segment being sent
  std::size_t pending_at_ = 0;
  std::function<void()> wake_;
  std::unique_ptr<Subscription> subscription_;  // last: see EventStream
};

}  // namespace seamwright::coordinator::http
