// What each field of a job request is: its type, its range and a sentence about it, for surfaces
// that check and document fields one by one (the HTTP API). base/request.h has the values.
// Threads: pure.
#pragma once

#include <string_view>
#include <vector>

namespace seamwright {

// kFile: text that names a file; kFiles: a list of frames with one each.
enum class FieldKind { kText, kInteger, kNumber, kList, kFile, kFiles };

struct RequestField {
  std::string_view name;
  FieldKind kind = FieldKind::kText;
  double low = 0, high = 0;  // of numbers, both allowed; of text, bytes; of lists, entries
  std::string_view help;
  bool local = false;  // names files of the machine: not for clients over the network
  bool given = false;  // about what a video starts from: what is allowed depends on the others
};

// In the order people think of them. Choices have their values in job_request_choices().
const std::vector<RequestField>& job_request_fields();
// nullptr when there is no such field.
const RequestField* find_request_field(std::string_view name);

}  // namespace seamwright
