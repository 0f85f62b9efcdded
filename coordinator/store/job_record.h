// One job as the store keeps it: what clients see, and what the service needs to go on after a
// restart.
// Threads: values only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "coordinator/job_service.h"

namespace seamwright::coordinator {

struct JobRecord {
  JobView view;
  std::int64_t arrival = 0;  // in the order of acknowledgement
  bool cancel_requested = false;
  bool ends_completed = false;   // asked to end with what is there, as completed (endless jobs)
  bool assembling = false;       // all segments are durable; the file is being put together
  std::uint64_t last_event = 0;  // sequence of the newest event
  std::string gang_instance;     // the process that holds the attempt; "" = none
  std::string lost_gang;         // that lost it last; another one is tried first
  std::int64_t durable = 0;      // records and segments that became durable, ever
  std::int64_t durable_at_loss = 0;
  int losses = 0;             // gangs lost in a row with nothing new durable, at one phase
  std::string loss_phase;     // what the gang was doing at the last of them
  std::string result = "{}";  // JSON: what the gang reported at the end
  std::string identity;       // what its durable records belong to; "" = none yet

  bool final() const {
    return view.state == JobState::kCompleted || view.state == JobState::kFailed;
  }
  // Clients see states move forward only: a job whose gang was lost stays in progress while it
  // waits for the next one.
  bool waits() const { return !final() && gang_instance.empty() && !assembling; }
};

// A file that belongs to a job, by its name inside the data folder.
struct Artifact {
  std::string job;
  int attempt = 0;
  std::string kind;  // "video", "segment"
  std::int64_t first_frame = 0, end_frame = 0;
  std::string file;
  std::int64_t bytes = 0;
  std::string detail;  // JSON that belongs to it
};

struct AttemptRecord {
  std::string job;
  int number = 0;
  std::string gang;
  std::int64_t started_at = 0, ended_at = 0;  // 0 = still running
  std::string outcome;
};

struct IdempotencyKey {
  std::string owner, key, body_hash, job;
  std::int64_t created_at = 0;
};

JobState job_state_from(std::string_view text);

// Everything of a submission that decides what is made; equal submissions give equal text.
std::string submission_text(const Submission& submission);

}  // namespace seamwright::coordinator
