// What outlives a gang, as its rank 0 sees it: durable records of latents, and committed segments
// of the video. One implementation keeps them in a folder (folder_store.h); a coordinator may keep
// them elsewhere.
// Threads: all calls from any thread; acknowledgements come on a thread of the store, one at a
// time.
#pragma once

#include <compare>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/sha256.h"
#include "comm/buffer.h"
#include "scheduling/resume.h"

namespace seamwright::worker {

// What the latents follow from. A store made for one identity must refuse another.
struct DurableIdentity {
  // By part: request, models, numerics, ... An error names the parts that differ.
  nlohmann::json parts = nlohmann::json::object();

  // SHA-256 of all parts.
  Sha256Digest fingerprint() const;
};

// Names a record. Local coherence: (frame, level); causal: (window, level), as in
// scheduling::ResumeState.
struct RecordKey {
  int at = 0;
  int level = 0;
  auto operator<=>(const RecordKey&) const = default;
};

// Frames [first, end) of the video, encoded on their own.
struct Segment {
  std::int64_t first_frame = 0;
  std::int64_t end_frame = 0;
  std::filesystem::path file;         // closed; empty when the job writes no video
  std::vector<Sha256Digest> latents;  // of each frame's final latent
  // What the writer of segments wants to have back when it goes on after this one. Opaque.
  nlohmann::json notes = nlohmann::json::object();
};

// What earlier attempts left.
struct DurableState {
  std::int64_t attempt = 1;       // the number of this one; greater than any before
  std::vector<Segment> segments;  // from frame 0, without a gap
  std::vector<RecordKey> records;
  std::int64_t evaluations = 0;  // of the U-Net, by all earlier attempts, as far as is known
  double write_s = 0;            // about what one small durable write takes
  // Levels between the records, as keep_interval was told; 0 = not known, or there are none.
  int checkpoint_interval = 0;

  std::int64_t first_missing_frame() const {
    return segments.empty() ? 0 : segments.back().end_frame;
  }
  scheduling::ResumeState resume_state() const;
};

class DurableStore {
 public:
  // Null: the record is durable. Otherwise it is not, and the gang should end with this error.
  using Acknowledge = std::function<void(const Error*)>;

  DurableStore() = default;
  virtual ~DurableStore();
  DurableStore(const DurableStore&) = delete;
  DurableStore& operator=(const DurableStore&) = delete;

  // What was there when the store was opened.
  virtual const DurableState& state() const = 0;

  // Once, before anything is saved: what later attempts find as state().checkpoint_interval. Which
  // records may go, and which must be there, follows from the interval (scheduling/retention.h), so
  // it must not change while there are records.
  virtual void keep_interval(int levels) = 0;

  // Blocks. Throws kCorrupt or kIo; a damaged record never comes back as a good one.
  virtual comm::Bytes load_record(RecordKey key) = 0;
  // Returns at once. Records saved in some order become durable in that order. Saving a record
  // again is allowed: its bytes are the same.
  virtual void save_record(RecordKey key, comm::Bytes bytes, Acknowledge acknowledge) = 0;
  // Returns at once; after everything saved before. A record that does not exist is no error.
  virtual void delete_record(RecordKey key) = 0;

  // Where the segment that begins with this frame is to be written; unique to this attempt.
  virtual std::filesystem::path segment_draft(std::int64_t first_frame) = 0;
  // Takes over the closed file (a draft of this store) and blocks until file and digests are
  // durable. Segments are committed in order. Returns the segment with its file's final name.
  virtual Segment commit_segment(Segment segment) = 0;

  // How many U-Net evaluations this attempt has done; cheap, and kept if only the process dies.
  virtual void note_evaluations(std::int64_t count) = 0;

  // Blocks until everything saved or deleted so far is done.
  virtual void flush() = 0;
};

}  // namespace seamwright::worker
