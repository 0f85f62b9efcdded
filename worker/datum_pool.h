// Data that was let go, to be taken again: filling a new one with zeros costs as much as what is
// then written over them.
// Threads: all calls lock; a datum returns from whatever thread lets go of it last.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "worker/data_store.h"

namespace seamwright::worker {

class DatumPool : public std::enable_shared_from_this<DatumPool> {
 public:
  // At most `kept` that nobody uses are held of each size.
  static std::shared_ptr<DatumPool> make(std::size_t kept = 8);

  // A datum with so many values, of which any may be left from its last use, and nothing else.
  std::shared_ptr<Datum> take(std::size_t values);

 private:
  explicit DatumPool(std::size_t kept) : kept_(kept) {}
  void give_back(std::unique_ptr<Datum> datum);

  const std::size_t kept_;
  std::mutex mutex_;
  std::map<std::size_t, std::vector<std::unique_ptr<Datum>>> free_;
};

}  // namespace seamwright::worker
