#include "worker/durable_store.h"

namespace seamwright::worker {

Sha256Digest DurableIdentity::fingerprint() const {
  const auto text = parts.dump();
  return sha256(std::as_bytes(std::span(text.data(), text.size())));
}

scheduling::ResumeState DurableState::resume_state() const {
  scheduling::ResumeState resume;
  resume.first_missing_frame = static_cast<int>(first_missing_frame());
  for (const auto& key : records) resume.records.emplace(key.at, key.level);
  return resume;
}

DurableStore::~DurableStore() = default;

}  // namespace seamwright::worker
