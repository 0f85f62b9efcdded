// Which activations must move between stages: the values blocks write, who reads them, and what
// crosses a cut for consecutive and for folded stages.
// Threads: const after construction; safe anywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "scheduling/partition.h"

namespace seamwright::scheduling {

// One write of a name. A later write of the same name is another value.
struct Value {
  std::string name;
  std::int64_t bytes = 0;
  std::size_t writer = 0;
  std::vector<std::size_t> readers;  // ascending

  bool read_in(std::size_t first, std::size_t last) const;
};

class ValueFlow {
 public:
  explicit ValueFlow(const std::vector<PartitionBlock>& blocks);

  std::size_t blocks() const { return seconds_.size() - 1; }
  double seconds(std::size_t first, std::size_t last) const {
    return seconds_[last] - seconds_[first];
  }
  std::int64_t weights(std::size_t first, std::size_t last) const {
    return weights_[last] - weights_[first];
  }

  // Values that cross a cut before block `at` when stages are consecutive runs: written before it,
  // read at or after it.
  std::vector<const Value*> across(std::size_t at) const;
  // Folded, where the inner stages hold [a, b): into them, and out of them.
  std::vector<const Value*> into(std::size_t a, std::size_t b) const;
  std::vector<const Value*> out_of(std::size_t a, std::size_t b) const;
  // Folded, kept by the rank that runs [a, inner_a) and later [inner_b, b).
  std::vector<const Value*> kept(std::size_t a, std::size_t inner_a, std::size_t inner_b,
                                 std::size_t b) const;

  static std::int64_t bytes(const std::vector<const Value*>& values);

 private:
  std::vector<Value> values_;
  std::vector<double> seconds_;        // prefix sums
  std::vector<std::int64_t> weights_;  // prefix sums
};

}  // namespace seamwright::scheduling
