// Mail that the ranks of a gang exchange beside the plan's messages: records on their way to and
// from rank 0, what became durable, how far each rank is, when its tasks ran, that all should stop.
// Threads: values and pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/buffer.h"
#include "worker/durable_store.h"

namespace seamwright::worker {

enum class MailKind : std::uint8_t {
  kSave = 1,  // to rank 0: key and payload of a record
  kLoad,      // to rank 0: the key of a record that is needed
  kLoaded,    // from rank 0: its key and payload
  kDurable,   // from rank 0: keys that became durable; number: the first missing frame
  kProgress,  // to rank 0: numbers of a rank (progress_watch.h)
  kStop,      // from rank 0: no further task
  kSpans,     // to rank 0: numbers of tasks that are done (task_spans.h)
};

struct GangMail {
  MailKind kind = MailKind::kSave;
  std::vector<RecordKey> keys;
  std::vector<std::int64_t> numbers;
  comm::Bytes payload;
  // Of the job that it is about, among those that one gang runs:
  // late mail of an earlier one does not count.
  std::uint32_t run = 0;
};

comm::Bytes encode(const GangMail& mail);
// Throws kCorrupt when the bytes are no mail of ours.
GangMail decode_gang_mail(const comm::Bytes& bytes);

}  // namespace seamwright::worker
