// Private to the safetensors reader: the header's JSON, read entry by entry.
// Threads: pure function.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace seamwright::model {

// One tensor as the header states it; nothing is checked against the data yet.
struct HeaderEntry {
  std::string name;
  std::string dtype;
  std::vector<std::uint64_t> shape;
  std::vector<std::uint64_t> offsets;
};

struct HeaderText {
  std::vector<HeaderEntry> entries;  // in the header's order
  std::map<std::string, std::string> metadata;
};

// Anything but exactly the documented structure is refused while it is being read, so memory is
// bounded by what a well-formed header of that size can hold. Throws kCorrupt.
HeaderText read_header_json(std::string_view json, std::string_view file);

}  // namespace seamwright::model
